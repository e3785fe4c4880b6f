// Data files by somebody who means harm, or by a broken disk: a DataError, whatever stands in them.
#include <sys/wait.h>
#include <unistd.h>
#include <webp/encode.h>

#include <atomic>
#include <csignal>
#include <filesystem>

#include "framework/data/byte_source.hpp"
#include "framework/data/convert.hpp"
#include "framework/data/describe.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/data/library_guard.hpp"
#include "framework/data/picture.hpp"
#include "framework/data/png.hpp"
#include "framework/files/atomic_file.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/mutate.hpp"
#include "tests/support/npy.hpp"
#include "tests/support/picture_bytes.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::data {
namespace {

namespace fs = std::filesystem;
using test::big_endian;
using test::gzipped;
using test::Hostile;
using test::Mutator;
using test::with_checksums;
using test::write_bytes;

std::string array(const std::string& type, const std::string& shape, size_t bytes) {
  return test::npy(type, "(" + shape + ")", std::string(bytes, '\x01'));
}

// Values that a header may claim, in the place of one that it has.
std::string with_another_number(Mutator& random, std::string text) {
  static const std::vector<std::string> numbers{"0",
                                                "-1",
                                                "3",
                                                "1000000000",
                                                "9223372036854775807",
                                                "18446744073709551616",
                                                "1e9",
                                                "4L",
                                                "",
                                                "99999999999999999999999999",
                                                "0x10",
                                                "8, 8, 8",
                                                "4294967296, 4294967296"};
  const size_t at = text.find_first_of("0123456789", text.find('('));
  if (at == std::string::npos) return text;
  return text.replace(at, 1, random.one_of(numbers));
}

class HostileData : public testing::Test {
 protected:
  HostileData() { test::limit_memory(uint64_t{3} << 30); }
  ConvertOptions out() const {
    ConvertOptions options;
    options.out = folder_.path() / "out.h5";
    options.overwrite = true;
    return options;
  }
  test::TemporaryFolder folder_{test::memory_or_disk()};
};

TEST_F(HostileData, Arrays) {
  const fs::path images = folder_.path() / "images.npy", labels = folder_.path() / "labels.npy";
  const std::vector<std::string> wholes{array("|u1", "4, 3, 8, 8", 768), array("<f4", "4, 2", 32),
                                        array("<f8", "4, 2, 2", 128), array("|u1", "4, 8, 8", 256)};
  const std::string whole_labels = array("<i8", "4,", 32);
  Mutator random(1);
  Hostile hostile("npy", folder_.path());
  for (int i = test::fuzz_count(300); i > 0; --i) {
    std::string bytes = random.one_of(wholes), beside = whole_labels;
    std::string& hit = random.chance(4) ? beside : bytes;
    if (random.chance(3))
      hit = with_another_number(random, hit);
    else if (random.chance(2))
      hit = random.bytes(hit.substr(0, 128)) + hit.substr(128);
    else
      hit = random.bytes(hit);
    if (random.chance(4)) hit = gzipped(hit);
    if (random.chance(8)) hit = random.bytes(hit);
    write_bytes(images, bytes);
    write_bytes(labels, beside);
    hostile.takes<DataError>([&] {
      convert_npy(images, random.chance(2) ? labels : "",
                  random.chance(3) ? ChannelAxis::last : ChannelAxis::unsaid, out());
    });
  }
}

TEST_F(HostileData, IdxFiles) {
  const auto idx = [](const std::vector<uint64_t>& shape, size_t values) {
    std::string bytes = std::string("\0\0\x08", 3) + static_cast<char>(shape.size());
    for (const uint64_t size : shape) bytes += big_endian(size);
    return bytes + std::string(values, '\x01');
  };
  const std::map<std::string, std::string> wholes{{"train-images-idx3-ubyte", idx({6, 4, 4}, 96)},
                                                  {"train-labels-idx1-ubyte", idx({6}, 6)},
                                                  {"t10k-images-idx3-ubyte", idx({2, 4, 4}, 32)},
                                                  {"t10k-labels-idx1-ubyte", idx({2}, 2)}};
  Mutator random(2);
  Hostile hostile("idx", folder_.path());
  for (int i = test::fuzz_count(150); i > 0; --i) {
    const size_t chosen = random.below(wholes.size());
    size_t k = 0;
    for (const auto& [name, whole] : wholes) {
      const bool hit = k++ == chosen;
      const bool packed = random.chance(3);
      std::string bytes = hit ? random.bytes(whole) : whole;
      if (packed) bytes = gzipped(bytes);
      if (hit && packed && random.chance(4)) bytes = random.bytes(bytes);
      fs::remove(folder_.path() / name);
      fs::remove(folder_.path() / (name + ".gz"));
      write_bytes(folder_.path() / (packed ? name + ".gz" : name), bytes);
    }
    hostile.takes<DataError, ConfigError>([&] { convert_idx(folder_.path(), out()); });
  }
}

TEST_F(HostileData, CifarFiles) {
  const std::string record = std::string(1, '\x03') + std::string(3072, '\x40');
  Mutator random(3);
  Hostile hostile("cifar10", folder_.path());
  for (int i = test::fuzz_count(60); i > 0; --i) {
    const size_t chosen = random.below(6);
    for (size_t k = 0; k < 6; ++k) {
      const std::string name =
          k < 5 ? "data_batch_" + std::to_string(k + 1) + ".bin" : "test_batch.bin";
      std::string bytes = record + record;
      if (k == chosen)
        bytes = random.chance(2) ? random.bytes(bytes) : gzipped(random.bytes(bytes));
      write_bytes(folder_.path() / name, bytes);
    }
    hostile.takes<DataError, ConfigError>([&] { convert_cifar10(folder_.path(), out()); });
  }
}

// Pictures of 16 x 8 in every form that the decoders know.

std::string png(char bits, char colour, char interlace, size_t row_bytes,
                const std::string& extra) {
  const std::string rows(8 * (row_bytes + 1) + (interlace ? 64 : 0), '\0');
  return test::png_file(
      big_endian(16) + big_endian(8) + bits + colour + std::string(2, '\0') + interlace, rows,
      extra);
}

std::string jpeg(int components, bool progressive, bool arithmetic) {
  const auto set = [=](jpeg_compress_struct& state) {
    if (progressive) jpeg_simple_progression(&state);
    state.arith_code = arithmetic ? TRUE : FALSE;
  };
  const std::string exif("Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
                         32);
  return test::jpeg_file(components, set, exif, [&](size_t y) {
    std::string row(static_cast<size_t>(16 * components), '\0');
    for (size_t x = 0; x < row.size(); ++x) row[x] = static_cast<char>(x * 11 + y * 29);
    return row;
  });
}

std::string webp(bool lossless, bool alpha) {
  const int channels = alpha ? 4 : 3;
  std::vector<uint8_t> values(static_cast<size_t>(16 * 8 * channels));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint8_t>(i * 7);
  uint8_t* out = nullptr;
  const int stride = 16 * channels;
  size_t size = 0;
  if (alpha)
    size = lossless ? WebPEncodeLosslessRGBA(values.data(), 16, 8, stride, &out)
                    : WebPEncodeRGBA(values.data(), 16, 8, stride, 50, &out);
  else
    size = lossless ? WebPEncodeLosslessRGB(values.data(), 16, 8, stride, &out)
                    : WebPEncodeRGB(values.data(), 16, 8, stride, 50, &out);
  std::string bytes(reinterpret_cast<char*>(out), size);
  WebPFree(out);
  return bytes;
}

// Two frames, made of stills: ANIM and ANMF chunks of the container.
std::string animation() {
  const auto little = [](uint64_t value, size_t bytes) {
    std::string text;
    for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
  };
  const std::string still = webp(true, true).substr(12);
  const std::string frame =
      little(0, 6) + little(15, 3) + little(7, 3) + little(40, 3) + '\0' + still;
  const auto part = [&](const std::string& type, const std::string& content) {
    return type + little(content.size(), 4) + content + std::string(content.size() % 2, '\0');
  };
  const std::string body =
      "WEBP" + part("VP8X", std::string("\x12\0\0\0", 4) + little(15, 3) + little(7, 3)) +
      part("ANIM", little(0, 6)) + part("ANMF", frame) + part("ANMF", frame);
  return "RIFF" + little(body.size(), 4) + body;
}

TEST_F(HostileData, Pictures) {
  const std::string palette =
      test::png_chunk("PLTE", std::string(48, '\x21')) + test::png_chunk("tRNS", "\x01\x80");
  const std::string text =
      test::png_chunk("tEXt", std::string("a\0b", 3)) +
      test::png_chunk("zTXt", std::string("a\0\0", 3) + "\x78\x9c\x4b\x04") +
      test::png_chunk("acTL", big_endian(2) + big_endian(0)) +
      test::png_chunk("gAMA", big_endian(1)) +
      test::png_chunk("eXIf",
                      std::string("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06", 20));
  const std::vector<std::string> wholes{
      png(8, 0, 0, 16, ""),     png(1, 0, 1, 2, ""),    png(16, 2, 0, 96, text),
      png(4, 3, 0, 8, palette), png(8, 6, 1, 64, text), png(16, 4, 0, 64, ""),
      png(2, 3, 1, 4, palette), jpeg(1, false, false),  jpeg(3, false, false),
      jpeg(3, true, false),     jpeg(4, false, false),  jpeg(3, false, true),
      jpeg(1, true, true),      webp(true, false),      webp(true, true),
      webp(false, false),       webp(false, true),      animation()};
  const fs::path path = folder_.path() / "a" / "x.png";
  Mutator random(4);
  Hostile hostile("picture", path);
  for (const std::string& whole : wholes) {
    write_bytes(path, whole);
    EXPECT_TRUE(hostile.takes<DataError>([&] { read_picture(path); }));
  }
  for (int i = test::fuzz_count(3000); i > 0; --i) {
    std::string bytes = random.bytes(random.one_of(wholes));
    if (bytes.starts_with("\x89PNG") && !random.chance(8)) bytes = with_checksums(bytes);
    write_bytes(path, bytes);
    hostile.takes<DataError>([&] { read_picture_header(path); });
    hostile.takes<DataError>([&] { read_picture(path); });
    if (!random.chance(50)) continue;
    write_bytes(folder_.path() / "a" / "y.png", wholes[0]);
    hostile.takes<DataError, ConfigError>([&] { convert_folder(folder_.path(), out()); });
  }
}

TEST_F(HostileData, ACanvasThatItsAnimationCannotFillIsRefused) {
  std::string bytes = animation();
  bytes[26] = '\x7f';  // the third byte of the canvas' width: 8,323,088 pixels
  const fs::path path = folder_.path() / "x.webp";
  write_bytes(path, bytes);
  EXPECT_ERROR(read_picture(path), DataError, "x.webp", "8323088 x 8");
}

// libpng takes, and fills, the memory that a chunk says it needs.
TEST_F(HostileData, AChunkOfAPngThatTheFileCannotHoldIsRefusedBeforeMemoryIsTaken) {
  const std::string whole = png(8, 0, 0, 16, test::png_chunk("tEXt", std::string("a\0b", 3)));
  const size_t text = whole.find("tEXt") - 4;
  const std::string longer = whole.substr(0, text) + '\x5c' + whole.substr(text + 1);
  const fs::path path = folder_.path() / "x.png";
  write_bytes(path, longer);
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  EXPECT_ERROR(read_picture(path), DataError, "x.png", "ends early");
  ::getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 100'000);  // in kB: it says 1.5 GB
}

// HDF5: contiguous, in packed chunks, virtual, with labels, class names and attributes.

void write_contiguous(const std::string& path) {
  auto file = Hdf5File::create(path);
  file.write_array("/train/images", torch::arange(96, torch::kUInt8).view({6, 1, 4, 4}));
  file.write_array("/train/labels", torch::arange(6, torch::kInt64));
  file.write_strings("/classes", {"a", "b", "c", "d", "e", "f"});
  file.set_attribute("/", "source", "a test");
  file.close();
}

void write_chunks(const std::string& path) {
  auto file = Hdf5File::create(path);
  const Hdf5Storage packed{2, 6};
  file.write_array("/train/images", torch::arange(12, torch::kFloat32).view({6, 2}), packed);
  file.write_array("/train/labels", torch::arange(6, torch::kInt32), packed);
  file.write_array("/validation/images", torch::arange(4, torch::kFloat64).view({2, 2}), {1, 0});
  file.set_attribute("/train", "split_rule", "none");
  file.close();
}

void write_virtual(const std::string& path, const std::string& source) {
  const hsize_t dims[4] = {6, 1, 4, 4};
  const Hdf5Handle space(H5Screate_simple(4, dims, nullptr), H5Sclose);
  const Hdf5Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_virtual(properties.id(), space.id(), source.c_str(), "/train/images", space.id());
  const Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  const Hdf5Handle group(H5Gcreate2(file.id(), "/train", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                         H5Gclose);
  const Hdf5Handle array(H5Dcreate2(file.id(), "/train/images", H5T_NATIVE_UINT8, space.id(),
                                    H5P_DEFAULT, properties.id(), H5P_DEFAULT),
                         H5Dclose);
}

// The places where the file holds something: most of a small one is empty.
std::vector<size_t> used_places(const std::string& bytes) {
  std::vector<size_t> places;
  for (size_t i = 0; i < bytes.size(); ++i)
    if (bytes[i] != '\0' || (i > 0 && bytes[i - 1] != '\0')) places.push_back(i);
  return places;
}

// The library may crash or never come back: the reader then ends the process with exit code 3.
template <typename Work>
void in_a_child(Hostile& hostile, const Work& work) {
  std::fflush(nullptr);
  const bool failed = testing::Test::HasFailure();  // with an earlier input
  const pid_t child = ::fork();
  if (child == 0) {
    [[maybe_unused]] const FILE* quiet = std::freopen("/dev/null", "w", stderr);
    work();
    std::fflush(nullptr);
    ::_exit(testing::Test::HasFailure() && !failed ? 1 : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  hostile.count(code == 0);
  if (code != 0 && code != 3) hostile.report("exit code " + std::to_string(code));
}

TEST_F(HostileData, Hdf5Files) {
  const std::string whole = folder_.file("whole.h5"), path = folder_.file("x.h5");
  std::vector<std::string> wholes;
  write_contiguous(whole);
  wholes.push_back(files::read_file(whole));
  write_chunks(path);
  wholes.push_back(files::read_file(path));
  write_virtual(path, whole);
  wholes.push_back(files::read_file(path));
  Mutator random(1005);
  Hostile hostile("hdf5", path);
  for (int i = test::fuzz_count(50); i > 0; --i) {
    std::string bytes = random.one_of(wholes);
    const auto places = used_places(bytes);
    for (size_t left = 1 + random.below(3); left > 0; --left) {
      char& hit = bytes[random.one_of(places)];
      hit = random.chance(2) ? static_cast<char>(hit ^ (1 << random.below(8)))
                             : random.one_of(std::string("\x00\xff\x7f\x80\x01\xfe\x10", 7));
    }
    if (random.chance(10)) bytes = random.bytes(bytes);
    write_bytes(path, bytes);
    const bool also_rechunk = random.chance(8);
    in_a_child(hostile, [&] {
      hostile.takes<DataError>([&] { describe_file(path); });
      hostile.takes<DataError>([&] {
        ImageDataset dataset(path, "train");
        dataset.read({0, dataset.size() - 1});
      });
      if (also_rechunk) hostile.takes<DataError>([&] { rechunk(path, out()); });
    });
  }
}

// 4 GiB that a file of some kB says to have packed: memory is not taken for them.
TEST_F(HostileData, ChunksThatTheFileCannotHoldAreRefused) {
  const std::string path = folder_.file("x.h5");
  {
    const hsize_t dims[2] = {4, uint64_t{1} << 28}, chunk[2] = {1, uint64_t{1} << 28};
    const Hdf5Handle space(H5Screate_simple(2, dims, nullptr), H5Sclose);
    const Hdf5Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_chunk(properties.id(), 2, chunk);
    H5Pset_deflate(properties.id(), 1);
    const Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
                          H5Fclose);
    const Hdf5Handle group(H5Gcreate2(file.id(), "/train", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                           H5Gclose);
    const Hdf5Handle array(H5Dcreate2(file.id(), "/train/images", H5T_NATIVE_FLOAT, space.id(),
                                      H5P_DEFAULT, properties.id(), H5P_DEFAULT),
                           H5Dclose);
    for (hsize_t row = 0; row < 4; ++row) {
      const hsize_t at[2] = {row, 0};
      H5Dwrite_chunk(array.id(), H5P_DEFAULT, 0, at, 4, "none");
    }
  }
  EXPECT_ERROR(ImageDataset(path, "train"), DataError, "x.h5", "4294967296 bytes");
}

// A header of gzip may claim a thousand times the file.
TEST_F(HostileData, MemoryIsTakenAsThereIsToRead) {
  const fs::path path = folder_.path() / "x.gz";
  write_bytes(path, gzipped(std::string(3000000, 'x')));
  ByteSource source(path);
  const std::string text = source.read_string(size_t{1} << 60);
  EXPECT_EQ(text, std::string(3000000, 'x'));
  EXPECT_LT(text.capacity(), size_t{1} << 24);
}

TEST(LibraryGuardDeathTest, ACrashAndAnEndlessLoopEndTheProcessInOrder) {
  const std::string path = "x.h5";
  const auto crash = [&](int signal) {
    const LibraryGuard guard(path, 5);
    std::raise(signal);
  };
  EXPECT_EXIT(crash(SIGSEGV), testing::ExitedWithCode(3), "x.h5: the HDF5 library crashed");
  EXPECT_EXIT(crash(SIGFPE), testing::ExitedWithCode(3), "x.h5: the HDF5 library crashed");
  EXPECT_EXIT(crash(SIGABRT), testing::ExitedWithCode(3), "x.h5: the HDF5 library crashed");
  const auto turn = [&] {
    const LibraryGuard guard(path, 1);
    for (std::atomic<bool> turning = true; turning;) {
    }
  };
  EXPECT_EXIT(turn(), testing::ExitedWithCode(3),
              "x.h5: the HDF5 library did not finish reading it");
}

TEST(LibraryGuardDeathTest, WhatIsNotTheLibrarysGoesItsUsualWay) {
  const std::string path = "x.h5";
  std::signal(SIGSEGV, SIG_DFL);  // a sanitizer has a way of its own
  const auto crash = [&] {
    {
      const LibraryGuard guard(path, 5);
    }
    std::raise(SIGSEGV);
  };
  EXPECT_EXIT(crash(), testing::KilledBySignal(SIGSEGV), "");
}

}  // namespace
}  // namespace scorenet::data
