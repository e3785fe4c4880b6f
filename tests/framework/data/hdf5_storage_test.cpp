// Objects in other files than the one opened, and storage that HDF5 would fill in silence.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "framework/data/describe.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/files/atomic_file.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

// What ends a block of HDF5's own: in its library, though in no public header.
extern "C" uint32_t H5_checksum_metadata(const void* bytes, size_t size, uint32_t start);

namespace scorenet::data {
namespace {

torch::Tensor numbered_images(int64_t n) {
  return torch::arange(n, torch::kInt64).to(torch::kUInt8).view({n, 1, 1, 1}).expand({n, 1, 4, 3});
}

// HDF5 by hand: what our own writer never makes.
class Hdf5StorageTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_.file(name); }

  Hdf5Handle create(const std::string& name, hid_t creation = H5P_DEFAULT) const {
    return {H5Fcreate(path(name).c_str(), H5F_ACC_TRUNC, creation, H5P_DEFAULT), H5Fclose};
  }
  static Hdf5Handle group(const Hdf5Handle& file, const char* name) {
    return {H5Gcreate2(file.id(), name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose};
  }
  static Hdf5Handle space(const std::vector<hsize_t>& dims) {
    return {H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose};
  }
  static Hdf5Handle properties() { return {H5Pcreate(H5P_DATASET_CREATE), H5Pclose}; }
  static Hdf5Handle chunked(const std::vector<hsize_t>& chunk) {
    auto p = properties();
    H5Pset_chunk(p.id(), static_cast<int>(chunk.size()), chunk.data());
    return p;
  }
  static Hdf5Handle array(const Hdf5Handle& file, const char* name,
                          const std::vector<hsize_t>& dims, const Hdf5Handle& creation,
                          hid_t type = H5T_NATIVE_UINT8) {
    return {H5Dcreate2(file.id(), name, type, space(dims).id(), H5P_DEFAULT, creation.id(),
                       H5P_DEFAULT),
            H5Dclose};
  }
  static void write(const Hdf5Handle& array, const torch::Tensor& values) {
    const auto bytes = values.contiguous();
    ASSERT_GE(
        H5Dwrite(array.id(), H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data_ptr()), 0);
  }
  // Rows [first, first + count) of an (N, 1, 4, 3) array, or of labels (N).
  static void write_rows(const Hdf5Handle& array, hsize_t first, hsize_t count) {
    const Hdf5Handle file(H5Dget_space(array.id()), H5Sclose);
    std::vector<hsize_t> dims(static_cast<size_t>(H5Sget_simple_extent_ndims(file.id())));
    H5Sget_simple_extent_dims(file.id(), dims.data(), nullptr);
    std::vector<hsize_t> start(dims.size(), 0);
    start[0] = first;
    dims[0] = count;
    H5Sselect_hyperslab(file.id(), H5S_SELECT_SET, start.data(), nullptr, dims.data(), nullptr);
    const std::vector<uint8_t> ones(count * 12, 1);
    ASSERT_GE(H5Dwrite(array.id(), H5T_NATIVE_UINT8, space(dims).id(), file.id(), H5P_DEFAULT,
                       ones.data()),
              0);
  }
  // A file of ours with `n` numbered images at /train/images, labels beside them.
  std::string plain(const std::string& name, int64_t n, const Hdf5Storage& storage = {}) const {
    auto file = Hdf5File::create(path(name));
    file.write_array("/train/images", numbered_images(n).contiguous(), storage);
    file.write_array("/train/labels", torch::arange(n, torch::kInt64).remainder(3), storage);
    file.close();
    return path(name);
  }
  void expect_numbered(const std::string& name, int64_t n) const {
    ImageDataset dataset(path(name), "train");
    ASSERT_EQ(dataset.size(), n);
    EXPECT_TRUE(
        torch::equal(dataset.read({n - 1, 0, 2}).examples.select(1, 0).select(1, 0).select(1, 0),
                     torch::tensor({n - 1, int64_t{0}, int64_t{2}}).to(torch::kUInt8)));
  }
  // An array of `n` rows that takes them from rows [2, 2 + n) of a.h5.
  void make_slice(const std::string& name, hsize_t n) const {
    const auto target = space({n, 1, 4, 3}), source = space({20, 1, 4, 3});
    const hsize_t start[4] = {2, 0, 0, 0}, count[4] = {n, 1, 4, 3};
    H5Sselect_hyperslab(source.id(), H5S_SELECT_SET, start, nullptr, count, nullptr);
    const auto p = properties();
    H5Pset_virtual(p.id(), target.id(), "a.h5", "/train/images", source.id());
    const auto file = create(name);
    const auto train = group(file, "/train");
    ASSERT_TRUE(array(file, "/train/images", {n, 1, 4, 3}, p).valid());
  }
  // Rows 0 to 4 of `n` from a.h5 and rows 5 to 9 from b.h5, which hold five numbered images each.
  void make_virtual(const std::string& name, hsize_t n,
                    const std::string& array_b = "/train/images", hsize_t rows_of_b = 5) const {
    const auto target = space({n, 1, 4, 3}), whole = space({5, 1, 4, 3});
    const auto source = space({rows_of_b, 1, 4, 3});
    const hsize_t first[4] = {0, 0, 0, 0}, second[4] = {5, 0, 0, 0}, count[4] = {5, 1, 4, 3};
    const hsize_t more[4] = {rows_of_b, 1, 4, 3};
    const auto p = properties();
    H5Sselect_hyperslab(target.id(), H5S_SELECT_SET, first, nullptr, count, nullptr);
    H5Pset_virtual(p.id(), target.id(), "a.h5", "/train/images", whole.id());
    H5Sselect_hyperslab(target.id(), H5S_SELECT_SET, second, nullptr, more, nullptr);
    H5Pset_virtual(p.id(), target.id(), "b.h5", array_b.c_str(), source.id());
    const auto file = create(name);
    const auto train = group(file, "/train");
    ASSERT_TRUE(array(file, "/train/images", {n, 1, 4, 3}, p).valid());
  }

  test::TemporaryFolder folder_;
};

TEST_F(Hdf5StorageTest, WhatALinkLeadsToIsReadFromTheFileThatHoldsIt) {
  for (const int64_t chunk : {0, 4}) {
    plain("holder.h5", 9, {chunk, 0});
    {
      const auto file = create("linking.h5");
      // Bytes where the images lie in the other file.
      write(array(file, "/junk", {20000}, properties()), torch::full({20000}, 77, torch::kUInt8));
      H5Lcreate_external("holder.h5", "/train", file.id(), "train", H5P_DEFAULT, H5P_DEFAULT);
    }
    {
      const auto file = create("parts.h5");
      const auto train = group(file, "/train");
      H5Lcreate_external("holder.h5", "/train/images", train.id(), "images", H5P_DEFAULT,
                         H5P_DEFAULT);
      H5Lcreate_external("holder.h5", "/train/labels", train.id(), "labels", H5P_DEFAULT,
                         H5P_DEFAULT);
    }
    {
      const auto file = create("soft.h5");
      const auto train = group(file, "/train");
      H5Lcreate_soft("/deep/images", train.id(), "images", H5P_DEFAULT, H5P_DEFAULT);
      H5Lcreate_external("linking.h5", "/train", file.id(), "deep", H5P_DEFAULT, H5P_DEFAULT);
    }
    for (const char* name : {"linking.h5", "parts.h5", "soft.h5"}) {
      expect_numbered(name, 9);
      EXPECT_EQ(ImageDataset(path(name), "train").storage().file, path("holder.h5"));
    }
    EXPECT_TRUE(torch::equal(ImageDataset(path("parts.h5"), "train").labels(),
                             torch::arange(9, torch::kInt64).remainder(3)));
  }
}

TEST_F(Hdf5StorageTest, TheFingerprintIsOfTheFileThatHoldsTheValues) {
  const auto direct = ImageDataset(plain("holder.h5", 9), "train").fingerprint();
  {
    const auto file = create("linking.h5");
    H5Lcreate_external("holder.h5", "/train", file.id(), "train", H5P_DEFAULT, H5P_DEFAULT);
  }
  EXPECT_EQ(ImageDataset(path("linking.h5"), "train").fingerprint(), direct);
  plain("holder.h5", 10);
  EXPECT_NE(ImageDataset(path("linking.h5"), "train").fingerprint(), direct);
}

TEST_F(Hdf5StorageTest, AUserBlockShiftsNothing) {
  const Hdf5Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_userblock(creation.id(), 1024);
  {
    const auto file = create("block.h5", creation.id());
    const auto train = group(file, "/train");
    write(array(file, "/train/images", {9, 1, 4, 3}, properties()), numbered_images(9));
  }
  expect_numbered("block.h5", 9);
}

TEST_F(Hdf5StorageTest, ALinkThatLeadsNowhereIsNamedAndNeverOpensAPipe) {
  ASSERT_EQ(::mkfifo(path("pipe.h5").c_str(), 0600), 0);
  {
    const auto file = create("linking.h5");
    H5Lcreate_external("gone.h5", "/train", file.id(), "train", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_external("pipe.h5", "/train", file.id(), "test", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/nowhere", file.id(), "validation", H5P_DEFAULT, H5P_DEFAULT);
  }
  const auto opened = [&](const char* split) { ImageDataset(path("linking.h5"), split); };
  EXPECT_ERROR(opened("train"), DataError, "gone.h5", "no such file");
  EXPECT_ERROR(opened("test"), DataError, "pipe.h5", "is a pipe");
  EXPECT_ERROR(opened("validation"), DataError, "/nowhere", "not there");
  EXPECT_ERROR(describe_file(path("linking.h5")), DataError, "linking.h5", "external link");
  EXPECT_ERROR(ImageDataset(path("pipe.h5"), "train"), DataError, "pipe.h5", "is a pipe");
}

TEST_F(Hdf5StorageTest, RawDataInAFileOfItsOwnIsReadOrMissed) {
  const auto raw = path("raw.bin");
  {
    const auto p = properties();
    H5Pset_external(p.id(), raw.c_str(), 16, H5F_UNLIMITED);
    const auto file = create("head.h5");
    const auto train = group(file, "/train");
    write(array(file, "/train/images", {9, 1, 4, 3}, p), numbered_images(9));
  }
  expect_numbered("head.h5", 9);
  ImageDataset open(path("head.h5"), "train");
  std::filesystem::resize_file(raw, 16 + 9 * 12 - 1);
  EXPECT_ERROR(ImageDataset(path("head.h5"), "train"), DataError, "raw.bin", "123");
  EXPECT_ERROR(open.read({8}), DataError, "raw.bin", "shorter");
  std::filesystem::remove(raw);
  EXPECT_ERROR(ImageDataset(path("head.h5"), "train"), DataError, "raw.bin", "no such file");
}

TEST_F(Hdf5StorageTest, AVirtualDatasetIsReadWhereAllItsSourcesAreWhole) {
  plain("a.h5", 5);
  plain("b.h5", 5, {2, 1});
  make_virtual("virtual.h5", 10);
  ImageDataset dataset(path("virtual.h5"), "train");
  EXPECT_EQ(dataset.read({4, 9, 5}).examples[1][0][0][0].item<int64_t>(), 4);
}

TEST_F(Hdf5StorageTest, AVirtualDatasetNamesTheSourceThatLacks) {
  plain("a.h5", 5);
  const auto opened = [&](const char* name) { ImageDataset(path(name), "train"); };
  make_virtual("gone.h5", 10);
  EXPECT_ERROR(opened("gone.h5"), DataError, "gone.h5", "b.h5", "no such file");
  plain("b.h5", 4);
  EXPECT_ERROR(opened("gone.h5"), DataError, "b.h5", "(4, 1, 4, 3)", "60 values");
  plain("b.h5", 5);
  make_virtual("other.h5", 10, "/no/such");
  EXPECT_ERROR(opened("other.h5"), DataError, "b.h5", "/no/such", "no such dataset");
  make_virtual("part.h5", 11);
  EXPECT_ERROR(opened("part.h5"), DataError, "part.h5", "sample 10");
  plain("b.h5", 4);
  make_virtual("thin.h5", 10, "/train/images", 4);
  EXPECT_ERROR(opened("thin.h5"), DataError, "thin.h5", "sample 9");
  std::filesystem::remove(path("b.h5"));
  ASSERT_EQ(::mkfifo(path("b.h5").c_str(), 0600), 0);
  EXPECT_ERROR(opened("gone.h5"), DataError, "b.h5", "is a pipe");
}

TEST_F(Hdf5StorageTest, AVirtualDatasetOfAPartOfASourceNeedsThatPart) {
  plain("a.h5", 9);
  make_slice("slice.h5", 7);
  EXPECT_EQ(ImageDataset(path("slice.h5"), "train").read({6}).examples[0][0][0][0].item<int64_t>(),
            8);
  make_slice("slice.h5", 8);
  EXPECT_ERROR(ImageDataset(path("slice.h5"), "train"), DataError, "a.h5", "(9, 1, 4, 3)",
               "(10, 1, 4, 3)");
}

TEST_F(Hdf5StorageTest, AVirtualDatasetTakesAsManyValuesAsItHasPlaces) {
  plain("a.h5", 20);
  make_slice("slice.h5", 7);
  std::string bytes = files::read_file(path("slice.h5"));
  // The block of mappings (HDF5 File Format Specification 3.0, "Global Heap Block for Virtual
  // Datasets"): version, number, names, the selections of source and target, checksum. The source's
  // is type, version, two of length, axes, count, the first and the last corner; the target is all.
  const std::string names("a.h5\0/train/images\0", 19);
  const size_t block = bytes.find(names) - 9, source = block + 9 + names.size();
  constexpr size_t kLastCorner = 24 + 4 * 4, kSource = 24 + 2 * 4 * 4, kAll = 16;
  ASSERT_EQ(bytes[source + kLastCorner], 2 + 7 - 1);
  bytes[source + kLastCorner] = 2 + 8 - 1;
  const size_t end = source + kSource + kAll;
  const uint32_t sum = H5_checksum_metadata(&bytes[block], end - block, 0);
  std::memcpy(&bytes[end], &sum, sizeof sum);
  test::write_bytes(path("slice.h5"), bytes);
  EXPECT_ERROR(ImageDataset(path("slice.h5"), "train"), DataError, "slice.h5",
               "takes 96 values from ", "a.h5", "for 84 places");
}

TEST_F(Hdf5StorageTest, SourcesNamedByAPatternAreRefused) {
  plain("0.h5", 5);
  const auto p = properties();
  const hsize_t none[4] = {0, 1, 4, 3}, most[4] = {H5S_UNLIMITED, 1, 4, 3};
  const Hdf5Handle target(H5Screate_simple(4, none, most), H5Sclose);
  const hsize_t start[4] = {0, 0, 0, 0}, block[4] = {5, 1, 4, 3};
  const hsize_t count[4] = {H5S_UNLIMITED, 1, 1, 1};
  H5Sselect_hyperslab(target.id(), H5S_SELECT_SET, start, block, count, block);
  ASSERT_GE(H5Pset_virtual(p.id(), target.id(), "%b.h5", "/train/images", space({5, 1, 4, 3}).id()),
            0);
  {
    const auto file = create("pattern.h5");
    const auto train = group(file, "/train");
    const Hdf5Handle images(H5Dcreate2(file.id(), "/train/images", H5T_NATIVE_UINT8, target.id(),
                                       H5P_DEFAULT, p.id(), H5P_DEFAULT),
                            H5Dclose);
    ASSERT_TRUE(images.valid());
  }
  EXPECT_ERROR(ImageDataset(path("pattern.h5"), "train"), DataError, "pattern.h5", "%b.h5",
               "by a pattern");
}

TEST_F(Hdf5StorageTest, ASourceThatIsNotWhollyWrittenIsNamedThroughTheVirtualDataset) {
  plain("a.h5", 5);
  {
    const auto file = create("b.h5");
    const auto train = group(file, "/train");
    write_rows(array(file, "/train/images", {5, 1, 4, 3}, chunked({1, 1, 4, 3})), 0, 3);
  }
  make_virtual("virtual.h5", 10);
  EXPECT_ERROR(ImageDataset(path("virtual.h5"), "train"), DataError, "b.h5", "sample 3");
}

TEST_F(Hdf5StorageTest, AVirtualDatasetOfItselfHasAnEnd) {
  const auto p = properties();
  const auto all = space({5, 1, 4, 3});
  H5Pset_virtual(p.id(), all.id(), ".", "/train/images", all.id());
  {
    const auto file = create("self.h5");
    const auto train = group(file, "/train");
    array(file, "/train/images", {5, 1, 4, 3}, p);
  }
  EXPECT_ERROR(ImageDataset(path("self.h5"), "train"), DataError, "self.h5", "virtual");
}

TEST_F(Hdf5StorageTest, AVirtualSourceThatShrinksIsNoticed) {
  plain("a.h5", 5);
  plain("b.h5", 5);
  make_virtual("virtual.h5", 10);
  ImageDataset dataset(path("virtual.h5"), "train");
  std::filesystem::resize_file(path("b.h5"), std::filesystem::file_size(path("b.h5")) - 1);
  EXPECT_ERROR(dataset.read({9}), DataError, "b.h5");
}

TEST_F(Hdf5StorageTest, TheFirstSampleThatWasNeverWrittenIsNamed) {
  for (const bool compressed : {false, true}) {
    for (const hsize_t written : {0, 4, 16, 19}) {
      const auto p = chunked({4, 1, 4, 3});
      if (compressed) H5Pset_deflate(p.id(), 1);
      {
        const auto file = create("half.h5");
        const auto train = group(file, "/train");
        const auto images = array(file, "/train/images", {19, 1, 4, 3}, p);
        if (written > 0) write_rows(images, 0, written);
      }
      if (written == 19) {
        EXPECT_NO_THROW(ImageDataset(path("half.h5"), "train"));
      } else {
        EXPECT_ERROR(ImageDataset(path("half.h5"), "train"), DataError,
                     "sample " + std::to_string(written), "h5repack");
      }
    }
  }
}

TEST_F(Hdf5StorageTest, AContiguousArrayThatWasNeverWrittenIsRefused) {
  {
    auto file = Hdf5File::create(path("unwritten.h5"));
    file.create_array("/train/images", {3, 1, 2, 2}, torch::kUInt8);
    file.close();
  }
  EXPECT_ERROR(ImageDataset(path("unwritten.h5"), "train"), DataError, "sample 0", "never written");
}

TEST_F(Hdf5StorageTest, LabelsThatWereNeverWrittenAreRefused) {
  for (const bool in_chunks : {false, true}) {
    {
      const auto file = create("labels.h5");
      const auto train = group(file, "/train");
      write(array(file, "/train/images", {9, 1, 4, 3}, properties()), numbered_images(9));
      const auto labels =
          array(file, "/train/labels", {9}, in_chunks ? chunked({2}) : properties());
      if (in_chunks) write_rows(labels, 0, 4);
    }
    EXPECT_ERROR(ImageDataset(path("labels.h5"), "train"), DataError, "/train/labels",
                 in_chunks ? "sample 4" : "sample 0");
    EXPECT_NO_THROW(ImageDataset(path("labels.h5"), "train", {.labels = false}));
  }
}

TEST_F(Hdf5StorageTest, RowsThatAreOnlyDeclaredAreNeverReadOrAllocated) {
  const hsize_t rows = hsize_t{1} << 40;
  for (const bool in_chunks : {false, true}) {
    {
      const auto file = create("declared.h5");
      const auto train = group(file, "/train");
      const auto images = array(file, "/train/images", {rows, 1, 4, 3},
                                in_chunks ? chunked({64, 1, 4, 3}) : properties());
      if (in_chunks) write_rows(images, 0, 64);
      array(file, "/train/labels", {rows}, in_chunks ? chunked({64}) : properties());
    }
    EXPECT_ERROR(ImageDataset(path("declared.h5"), "train"), DataError,
                 in_chunks ? "sample 64" : "sample 0");
  }
  {
    const auto file = create("more.h5");
    const auto train = group(file, "/train");
    array(file, "/train/images", {hsize_t{1} << 62, 1, 4, 3}, chunked({64, 1, 4, 3}));
  }
  EXPECT_ERROR(ImageDataset(path("more.h5"), "train"), DataError, "more values");
}

TEST_F(Hdf5StorageTest, AFileThatShrinksWhileItIsReadIsNamed) {
  // Many pages, so that the cut lies in some that the system has not kept for the mapping.
  for (const int64_t chunk : {0, 100}) {
    const auto file = path("shrinks.h5");
    auto writer = Hdf5File::create(file);
    writer.write_array("/train/images", torch::ones({4000, 1, 16, 16}, torch::kUInt8), {chunk, 0});
    writer.close();
    ImageDataset dataset(file, "train", {.cached_blocks = 1});
    EXPECT_EQ(dataset.read({3999}).examples[0][0][0][0].item<int64_t>(), 1);
    std::filesystem::resize_file(file, 100000);
    EXPECT_ERROR(dataset.read({2000}), DataError, "shrinks.h5", "shorter");
    EXPECT_ERROR(dataset.read({1000}), DataError, "shrinks.h5", "shorter");  // and again
  }
}

TEST_F(Hdf5StorageTest, AFileThatIsReplacedBySuchANameIsReadOn) {
  for (const int64_t chunk : {0, 2}) {
    plain("data.h5", 9, {chunk, 0});
    ImageDataset dataset(path("data.h5"), "train", {.cached_blocks = 1});
    plain("new.h5", 3);
    std::filesystem::rename(path("new.h5"), path("data.h5"));
    EXPECT_EQ(dataset.read({8}).examples[0][0][0][0].item<int64_t>(), 8);
  }
}

TEST_F(Hdf5StorageTest, TheSameValuesAreTheSameBytesAtAnyTime) {
  const auto written = [&](const std::string& name) {
    auto file = Hdf5File::create(path(name));
    file.write_array("/train/images", torch::arange(12).view({3, 4}));
    file.write_strings("/classes", {"a", "b"});
    file.close();
    return files::read_file(path(name));
  };
  const std::string first = written("first.h5");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // HDF5 would note seconds
  EXPECT_EQ(written("second.h5"), first);
}

// A writer that does not close its file leaves a mark in it, in files of HDF5 1.10's format.
TEST_F(Hdf5StorageTest, AFileThatIsOpenForWritingIsToldAsSuch) {
  const pid_t writer = fork();
  if (writer == 0) {
    const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_libver_bounds(access.id(), H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
    const hid_t file = H5Fcreate(path("open.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.id());
    H5Fflush(file, H5F_SCOPE_GLOBAL);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(writer, &status, 0), writer);
  EXPECT_ERROR(Hdf5File::open(path("open.h5")), DataError, "open.h5: another program has it open",
               "h5clear -s");
}

TEST_F(Hdf5StorageTest, AReasonOfTheSystemIsOneLine) {
  const std::string said = test::error_of<DataError>([] {
    auto file = Hdf5File::create("/dev/full");
    file.write_array("/a", torch::zeros({1 << 16}));
    file.close();
  });
  EXPECT_THAT(said, testing::HasSubstr("No space left on device"));
  EXPECT_THAT(said, testing::Not(testing::HasSubstr("\n")));
  EXPECT_THAT(said, testing::Not(testing::HasSubstr("errno")));
}

}  // namespace
}  // namespace scorenet::data
