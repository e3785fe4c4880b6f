// From published forms to our file and back through ImageDataset; every kind of damage is named.
#include "framework/data/convert.hpp"

#include <zlib.h>

#include <filesystem>
#include <functional>
#include <limits>
#include <set>

#include "framework/core/random.hpp"
#include "framework/data/describe.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/data/md5.hpp"
#include "framework/data/png.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/npy.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::data {
namespace {

namespace fs = std::filesystem;
using Indices = std::vector<int64_t>;
using test::bytes_of;
using test::npy;

std::string gzipped(const std::string& bytes) {
  const test::TemporaryFolder folder;
  const auto path = folder.file("x.gz");
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// An IDX file of unsigned bytes: value i is i mod 256.
std::string idx(const std::vector<unsigned char>& shape) {
  std::string bytes{'\0', '\0', '\x08', static_cast<char>(shape.size())};
  size_t count = 1;
  for (const auto size : shape) {
    bytes += std::string(3, '\0') + static_cast<char>(size);
    count *= size;
  }
  for (size_t i = 0; i < count; ++i) bytes += static_cast<char>(i);
  return bytes;
}

class ConvertTest : public testing::Test {
 protected:
  ConvertOptions options(int64_t validation = 0) {
    ConvertOptions result;
    result.out = folder_.file("out.h5");
    result.overwrite = true;
    result.validation = validation;
    return result;
  }
  fs::path put(const std::string& name, const std::string& bytes) {
    test::write_bytes(folder_.path() / name, bytes);
    return folder_.path() / name;
  }
  void put_mnist(const std::function<std::string(const std::string&)>& packed,
                 const std::string& ending) {
    put("mnist/train-images-idx3-ubyte" + ending, packed(idx({10, 4, 3})));
    put("mnist/train-labels-idx1-ubyte" + ending, packed(idx({10})));
    put("mnist/t10k-images-idx3-ubyte" + ending, packed(idx({2, 4, 3})));
    put("mnist/t10k-labels-idx1-ubyte" + ending, packed(idx({2})));
  }
  ImageDataset opened(const std::string& split) {
    return ImageDataset(folder_.file("out.h5"), split);
  }
  std::string attribute(const std::string& key) {
    return Hdf5File::open(folder_.file("out.h5")).attribute("/", key).value_or("none");
  }
  // Nothing may be left of a conversion that failed.
  bool nothing_written() {
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      const auto name = entry.path().filename().string();
      if (name.find("out.h5") != std::string::npos) return false;
    }
    return true;
  }

  test::TemporaryFolder folder_;
};

TEST_F(ConvertTest, IdxFilesPlainOrGzipKeepPixelsLabelsAndOrder) {
  const auto plain = [](const std::string& bytes) { return bytes; };
  for (const bool gzip : {false, true}) {
    fs::remove_all(folder_.path() / "mnist");
    if (gzip)
      put_mnist(gzipped, ".gz");
    else
      put_mnist(plain, "");
    convert_idx(folder_.path() / "mnist", options(3));
    auto train = opened("train"), validation = opened("validation"), test = opened("test");
    EXPECT_EQ(train.size(), 7);
    EXPECT_EQ(validation.size(), 3);
    EXPECT_EQ(test.size(), 2);
    EXPECT_EQ(train.example_shape(), (std::vector<int64_t>{1, 4, 3}));
    // Pixel p of image i is (12 i + p) mod 256; validation image 0 is image 7 of the training file.
    const auto batch = validation.read({2});
    EXPECT_EQ(batch.examples[0][0][3][2].item<int64_t>(), 9 * 12 + 11);
    EXPECT_EQ(batch.labels[0].item<int64_t>(), 9);
    EXPECT_EQ(test.read({1}).examples[0][0][0][0].item<int64_t>(), 12);
    EXPECT_THAT(attribute("split_rule"),
                testing::HasSubstr("validation: samples 7 to 9 of train-images"));
  }
}

TEST_F(ConvertTest, IdxDamageIsNamedAndLeavesNothing) {
  const auto folder = folder_.path() / "mnist";
  const auto plain = [](const std::string& bytes) { return bytes; };
  EXPECT_ERROR(convert_idx(folder, options()), DataError, "train-images-idx3-ubyte",
               "no such file");
  put_mnist(plain, "");
  put("mnist/train-images-idx3-ubyte", idx({10, 4, 3}).substr(0, 100));
  EXPECT_ERROR(convert_idx(folder, options()), DataError, "(10, 4, 3)", "found at most 84");
  put("mnist/train-images-idx3-ubyte", idx({10}));
  EXPECT_ERROR(convert_idx(folder, options()), DataError, "train-images-idx3-ubyte", "3 axes");
  put("mnist/train-images-idx3-ubyte", idx({10, 4, 3}));
  put("mnist/train-labels-idx1-ubyte", idx({9}));
  EXPECT_ERROR(convert_idx(folder, options()), DataError, "9 labels for 10 images");
  put("mnist/train-labels-idx1-ubyte", idx({10}));
  EXPECT_ERROR(convert_idx(folder, options(10)), ConfigError, "--validation 10", "10 samples");
  fs::remove(folder / "t10k-images-idx3-ubyte");
  const auto packed = gzipped(idx({2, 4, 3}));
  put("mnist/t10k-images-idx3-ubyte.gz", packed.substr(0, packed.size() / 2));
  EXPECT_ERROR(convert_idx(folder, options()), DataError, "t10k-images-idx3-ubyte.gz", "cut short");
  EXPECT_TRUE(nothing_written());
}

TEST_F(ConvertTest, AUsersOwnSetMayLieInAFolderOfAPublishedName) {
  put_mnist([](const std::string& bytes) { return bytes; }, "");
  fs::rename(folder_.path() / "mnist", folder_.path() / "fashion-mnist");
  convert_idx(folder_.path() / "fashion-mnist", options(1));
  EXPECT_EQ(attribute("source"), "IDX files");
}

TEST_F(ConvertTest, IdxNamesWithADotAreKnown) {
  for (const std::string packed : {"", ".gz"}) {
    const auto form = [&](const std::string& bytes) {
      return packed.empty() ? bytes : gzipped(bytes);
    };
    fs::remove_all(folder_.path() / "mnist");
    put("mnist/train-images.idx3-ubyte" + packed, form(idx({10, 4, 3})));
    put("mnist/train-labels.idx1-ubyte" + packed, form(idx({10})));
    put("mnist/t10k-images.idx3-ubyte" + packed, form(idx({2, 4, 3})));
    put("mnist/t10k-labels.idx1-ubyte" + packed, form(idx({2})));
    convert_idx(folder_.path() / "mnist", options());
    EXPECT_EQ(opened("train").size(), 10);
  }
}

TEST_F(ConvertTest, IdxCountsThatTheFileCannotHoldAreRefusedBeforeTheyAreBelieved) {
  const auto plain = [](const std::string& bytes) { return bytes; };
  for (const std::string ending : {"", ".gz"}) {
    fs::remove_all(folder_.path() / "mnist");
    put_mnist(plain, "");
    fs::remove(folder_.path() / "mnist/train-images-idx3-ubyte");
    // 2^32 - 1 on each of three axes: the product does not fit 64 bits.
    std::string hostile{0, 0, 8, 3};
    hostile.append(12, '\xff').append("abc");
    put("mnist/train-images-idx3-ubyte" + ending, ending.empty() ? hostile : gzipped(hostile));
    EXPECT_ERROR(convert_idx(folder_.path() / "mnist", options()), DataError,
                 "train-images-idx3-ubyte", "4294967295");
    EXPECT_TRUE(nothing_written());
  }
}

TEST_F(ConvertTest, ValidationIsHeldOutByDefaultAndTold) {
  put_mnist([](const std::string& bytes) { return bytes; }, "");
  auto unsaid = options();
  unsaid.validation.reset();
  EXPECT_THAT(convert_idx(folder_.path() / "mnist", unsaid),
              testing::Contains(testing::HasSubstr("1 of 10 samples held out")));
  EXPECT_EQ(opened("validation").size(), 1);
  // Sorted by class, as arrays often are: the last tenth would be of one class.
  std::vector<float> values(200);
  for (size_t i = 0; i < 200; ++i) values[i] = static_cast<float>(i);
  const auto sorted = put("sorted.npy", npy("<f4", "(200, 1)", bytes_of<float>(values)));
  EXPECT_THAT(convert_npy(sorted, "", ChannelAxis::unsaid, unsaid),
              testing::Contains(testing::HasSubstr("20 of 200 samples held out")));
  EXPECT_THAT(attribute("split_rule"), testing::HasSubstr("20 of samples 0 to 199"));
  std::set<float> seen;
  for (const std::string split : {"train", "validation"}) {
    auto dataset = opened(split);
    EXPECT_EQ(dataset.size(), split == "train" ? 180 : 20);
    const auto rows = dataset.read(slot_range(0, dataset.size())).examples;
    if (split == "validation") {
      EXPECT_LT(rows.min().item<float>(), 100);
    }
    for (int64_t i = 0; i < rows.size(0); ++i) seen.insert(rows[i].item<float>());
  }
  EXPECT_EQ(seen.size(), 200u);
  EXPECT_THAT(convert_npy(sorted, "", ChannelAxis::unsaid, options(0)), testing::IsEmpty());
  EXPECT_EQ(splits_of(Hdf5File::open(folder_.file("out.h5"))), std::vector<std::string>{"train"});
}

TEST_F(ConvertTest, TheRealFashionMnistHasItsPublishedSplitsAndTenEvenClasses) {
  const fs::path source = "/usr/share/datasets/fashion-mnist";
  if (!fs::exists(source)) GTEST_SKIP() << "needs Debian's dataset-fashion-mnist";
  ConvertOptions usual = options();
  usual.validation.reset();
  convert_idx(source, usual);
  EXPECT_EQ(opened("train").size(), 55000);
  EXPECT_EQ(opened("validation").size(), 5000);
  EXPECT_EQ(opened("test").size(), 10000);
  // The published test set has 1,000 images of each class.
  EXPECT_TRUE(torch::bincount(opened("test").labels()).eq(1000).all().item<bool>());
  EXPECT_THAT(attribute("source"), testing::HasSubstr("Fashion-MNIST"));
}

TEST_F(ConvertTest, CifarRecordsBecomeChannelsRowsAndColumns) {
  // Record r: label r mod 10, pixel p = (r + p / 1024) mod 256: the same over a channel.
  const auto batch = [](int first, int count) {
    std::string bytes;
    for (int r = first; r < first + count; ++r) {
      bytes += static_cast<char>(r % 10);
      for (int p = 0; p < 3072; ++p) bytes += static_cast<char>(r + p / 1024);
    }
    return bytes;
  };
  for (int i = 0; i < 5; ++i)
    put("cifar/data_batch_" + std::to_string(i + 1) + ".bin", batch(4 * i, 4));
  put("cifar/test_batch.bin", batch(100, 3));
  convert_cifar10(folder_.path() / "cifar", options(5));
  EXPECT_EQ(opened("train").size(), 15);
  const auto sample = opened("validation").read({4});  // record 19
  EXPECT_EQ(sample.labels[0].item<int64_t>(), 9);
  EXPECT_EQ(sample.examples.sizes(), (std::vector<int64_t>{1, 3, 32, 32}));
  EXPECT_TRUE(sample.examples[0][2].eq(21).all().item<bool>());
  EXPECT_TRUE(opened("test").read({0}).examples[0][0].eq(100).all().item<bool>());

  put("cifar/test_batch.bin", batch(0, 1).substr(1));
  EXPECT_ERROR(convert_cifar10(folder_.path() / "cifar", options(5)), DataError, "test_batch.bin",
               "3072 bytes", "3073");
  std::string wrong = batch(0, 1);
  wrong[0] = 10;
  put("cifar/test_batch.bin", wrong);
  EXPECT_ERROR(convert_cifar10(folder_.path() / "cifar", options(5)), DataError, "label 10",
               "0 to 9");
  fs::remove(folder_.path() / "cifar/data_batch_3.bin");
  EXPECT_ERROR(convert_cifar10(folder_.path() / "cifar", options(5)), DataError,
               "data_batch_3.bin");
}

class FolderTest : public ConvertTest {
 protected:
  void put_png(const std::string& name, int64_t value, int64_t channels = 1, int64_t width = 3) {
    fs::create_directories((folder_.path() / name).parent_path());
    write_png_grid(folder_.path() / name,
                   torch::full({1, channels, 4, width}, value, torch::kUInt8), 1);
  }
};

TEST_F(FolderTest, ClassesAreNumberedInTheOrderOfTheirNames) {
  for (int i = 0; i < 6; ++i) put_png("images/zebra/" + std::to_string(i) + ".png", 10 + i);
  for (int i = 0; i < 4; ++i) put_png("images/ape/" + std::to_string(i) + ".PNG", 100 + i);
  auto parts = options(2);
  parts.test = 3;
  convert_folder(folder_.path() / "images", parts);
  EXPECT_EQ(Hdf5File::open(folder_.file("out.h5")).read_strings("/classes"),
            (std::vector<std::string>{"ape", "zebra"}));
  std::multiset<int64_t> values;
  for (const std::string split : {"train", "validation", "test"}) {
    auto dataset = opened(split);
    EXPECT_EQ(dataset.size(), split == "train" ? 5 : split == "validation" ? 2 : 3);
    EXPECT_EQ(dataset.example_shape(), (std::vector<int64_t>{1, 4, 3}));
    for (int64_t i = 0; i < dataset.size(); ++i) {
      const auto sample = dataset.read({i});
      const auto value = sample.examples[0][0][1][1].item<int64_t>();
      values.insert(value);
      EXPECT_EQ(sample.labels[0].item<int64_t>(), value >= 100 ? 0 : 1);
    }
  }
  EXPECT_EQ(values, (std::multiset<int64_t>{10, 11, 12, 13, 14, 15, 100, 101, 102, 103}));
}

TEST_F(FolderTest, FoldersNamedAsSplitsAreTheSplitsAndOneColourImageMakesAllColour) {
  put_png("images/train/a/0.png", 1);
  put_png("images/train/b/0.png", 2, 3);
  put_png("images/test/b/0.png", 3);
  convert_folder(folder_.path() / "images", options());
  EXPECT_EQ(opened("train").example_shape(), (std::vector<int64_t>{3, 4, 3}));
  EXPECT_EQ(opened("test").read({0}).labels[0].item<int64_t>(), 1);
  EXPECT_TRUE(opened("test").read({0}).examples.eq(3).all().item<bool>());
  put_png("images/val/b/0.png", 3);
  EXPECT_ERROR(convert_folder(folder_.path() / "images", options(1)), ConfigError, "--validation",
               "does not apply");
}

TEST_F(FolderTest, FilesThatDoNotFitAreNamed) {
  EXPECT_ERROR(convert_folder(folder_.path() / "images", options()), DataError, "images",
               "no such folder");
  put("images/a/notes.txt", "hello");
  EXPECT_ERROR(convert_folder(folder_.path() / "images", options()), DataError, "no picture found");
  put_png("images/a/0.png", 1);
  put_png("images/a/1.png", 1, 1, 5);
  EXPECT_ERROR(convert_folder(folder_.path() / "images", options()), DataError, "1.png", "5 x 4",
               "3 x 4");
  put("images/a/1.png", "no picture");
  EXPECT_ERROR(convert_folder(folder_.path() / "images", options()), DataError, "1.png",
               "cannot be decoded");
  EXPECT_TRUE(nothing_written());
}

TEST_F(ConvertTest, NumpyArraysOfEveryTypeKeepTheirValues) {
  const auto floats = put("f4.npy", npy("<f4", "(3, 2)", bytes_of<float>({0, 1, 2, 3, 4, 5})));
  auto parts = options(1);
  parts.test = 1;
  convert_npy(floats, "", ChannelAxis::unsaid, parts);
  EXPECT_TRUE(torch::equal(opened("test").read({0}).examples, torch::tensor({{4.f, 5.f}})));
  EXPECT_EQ(opened("train").size(), 1);
  EXPECT_EQ(opened("validation").size(), 1);

  const auto doubles = put("f8.npy", npy("<f8", "(2, 2, 1)", bytes_of<double>({0, 1, 2, 0.1})));
  convert_npy(doubles, "", ChannelAxis::unsaid, options());
  EXPECT_EQ(opened("train").read({1}).examples[0][1][0].item<double>(), 0.1);

  const auto images = put("u1.npy", npy("|u1", "(2, 2, 3)", "abcdefghijkl"));
  for (const auto& [type, values] :
       {std::pair<std::string, std::string>{"<i8", bytes_of<int64_t>({4, 7})},
        {"<i4", bytes_of<int32_t>({4, 7})},
        {"<i2", bytes_of<int16_t>({4, 7})},
        {"|i1", bytes_of<int8_t>({4, 7})},
        {"|u1", bytes_of<uint8_t>({4, 7})}}) {
    convert_npy(images, put("labels.npy", npy(type, "(2,)", values)), ChannelAxis::unsaid,
                options());
    EXPECT_EQ(opened("train").example_shape(), (std::vector<int64_t>{1, 2, 3}));
    EXPECT_EQ(opened("train").read({1}).labels[0].item<int64_t>(), 7);
    EXPECT_EQ(opened("train").read({1}).examples[0][0][1][2].item<int64_t>(), 'l');
  }
}

TEST_F(ConvertTest, ChannelsLastIsTurnedRoundWhenSaidAndRefusedWhenNot) {
  std::string values;
  for (int i = 0; i < 2 * 5 * 6 * 3; ++i) values += static_cast<char>(i);
  const auto images = put("hwc.npy", npy("|u1", "(2, 5, 6, 3)", values));
  EXPECT_ERROR(convert_npy(images, "", ChannelAxis::unsaid, options()), DataError, "(2, 5, 6, 3)",
               "--channels-last");
  convert_npy(images, "", ChannelAxis::last, options());
  EXPECT_EQ(opened("train").example_shape(), (std::vector<int64_t>{3, 5, 6}));
  // Row 1, column 2, channel 1 of image 1: ((1 * 5 + 1) * 6 + 2) * 3 + 1 = 115.
  EXPECT_EQ(opened("train").read({1}).examples[0][1][1][2].item<int64_t>(), 115);
  EXPECT_ERROR(
      convert_npy(put("hw.npy", npy("|u1", "(1, 1, 1)", "a")), "", ChannelAxis::last, options()),
      DataError, "(N, H, W, C)");
}

TEST_F(ConvertTest, NumpyFilesThatDoNotFitAreNamed) {
  const auto refused = [this](const std::string& bytes, const std::string& labels = "") {
    convert_npy(put("x.npy", bytes), labels.empty() ? fs::path() : put("y.npy", labels),
                ChannelAxis::unsaid, options());
  };
  const std::string two = npy("<f4", "(2, 1)", bytes_of<float>({0, 1}));
  EXPECT_ERROR(refused("not numpy"), DataError, "x.npy", "expected a NumPy .npy file");
  EXPECT_ERROR(refused(npy("<f4", "(2, 1)", "abc")), DataError, "(2, 1)", "needs more bytes",
               "found 3");
  EXPECT_ERROR(refused(npy(">f4", "(2, 1)", "abcdefgh")), DataError, "\">f4\"");
  EXPECT_ERROR(refused(npy("<f4", "(2, 1)", "abcdefgh", "True")), DataError, "Fortran order");
  EXPECT_ERROR(refused(npy("<i4", "(2, 1)", "abcdefgh")), DataError, "int32",
               "expected uint8 images");
  EXPECT_ERROR(refused(npy("|u1", "(2, 1)", "ab")), DataError, "(N, C, H, W)");
  EXPECT_ERROR(refused(std::string("\x93NUMPY\x01\x00\x04\x00{'a}", 14)), DataError,
               "not that of a plain array");
  EXPECT_ERROR(refused(two, npy("<i8", "(1,)", bytes_of<int64_t>({1}))), DataError, "y.npy",
               "shape (2)");
  EXPECT_ERROR(refused(two, two), DataError, "y.npy", "expected integers");
  EXPECT_TRUE(nothing_written());
}

TEST_F(ConvertTest, RechunkedDataIsTheSameDataStoredAsAsked) {
  synthesize("gaussians25", {{"train", 100}, {"test", 30}}, 3, options());
  fs::rename(folder_.path() / "out.h5", folder_.path() / "in.h5");
  auto chunked = options();
  chunked.storage = {16, 5};
  rechunk(folder_.path() / "in.h5", chunked);
  EXPECT_EQ(opened("train").storage().chunk, (std::vector<int64_t>{16, 2}));
  EXPECT_TRUE(opened("train").storage().compressed);
  EXPECT_THAT(attribute("source"), testing::HasSubstr("gaussians25"));
  for (const std::string split : {"train", "test"}) {
    ImageDataset before((folder_.path() / "in.h5").string(), split);
    auto after = opened(split);
    Indices all(static_cast<size_t>(before.size()));
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
    EXPECT_TRUE(torch::equal(before.read(all).examples, after.read(all).examples));
    EXPECT_TRUE(torch::equal(before.labels(), after.labels()));
  }
}

// What h5py makes of `f.attrs["key"] = "text"`: text of variable length.
void put_text_attribute(hid_t object, const char* key, const std::vector<const char*>& values) {
  const Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), H5T_VARIABLE);
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  const hsize_t count = values.size();
  const Hdf5Handle space(count == 1 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, nullptr),
                         H5Sclose);
  const Hdf5Handle made(H5Acreate2(object, key, type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT),
                        H5Aclose);
  ASSERT_GE(H5Awrite(made.id(), type.id(), values.data()), 0);
}

void put_number_attribute(hid_t object, const char* key, double value) {
  const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Hdf5Handle made(
      H5Acreate2(object, key, H5T_NATIVE_DOUBLE, space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  ASSERT_GE(H5Awrite(made.id(), H5T_NATIVE_DOUBLE, &value), 0);
}

double number_attribute(const std::string& path, const char* object, const char* key) {
  const Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  const Hdf5Handle attribute(H5Aopen_by_name(file.id(), object, key, H5P_DEFAULT, H5P_DEFAULT),
                             H5Aclose);
  double value = 0;
  H5Aread(attribute.id(), H5T_NATIVE_DOUBLE, &value);
  return value;
}

TEST_F(ConvertTest, RechunkedDataKeepTheAttributesOfEveryObject) {
  synthesize("gaussians25", {{"train", 100}}, 3, options());
  const std::string in = folder_.file("in.h5");
  fs::rename(folder_.path() / "out.h5", in);
  const std::vector<const char*> objects = {"/", "/train", "/train/images", "/train/labels"};
  {
    const Hdf5Handle file(H5Fopen(in.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    for (const char* name : objects) {
      const Hdf5Handle object(H5Oopen(file.id(), name, H5P_DEFAULT), H5Oclose);
      put_text_attribute(object.id(), "licence", {"CC BY 4.0, \xc3\xa9t\xc3\xa9"});
      put_text_attribute(object.id(), "authors", {"Ada", "", "Grace"});
      put_number_attribute(object.id(), "scale", 0.125);
    }
  }
  auto chunked = options();
  chunked.storage = {16, 5};
  EXPECT_THAT(rechunk(in, chunked), testing::IsEmpty());
  for (const char* name : objects) {
    const auto text = [&](const char* key) {
      return Hdf5File::open(folder_.file("out.h5")).attribute(name, key);
    };
    EXPECT_EQ(text("licence"), "CC BY 4.0, \xc3\xa9t\xc3\xa9") << name;
    EXPECT_EQ(text("authors"), "Ada\n\nGrace") << name;
    EXPECT_EQ(number_attribute(folder_.file("out.h5"), name, "scale"), 0.125) << name;
  }
}

TEST_F(ConvertTest, RechunkRefusesLabelsThatNumberNoClass) {
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  for (const int64_t label : {kMost, kMost + 1, std::numeric_limits<int64_t>::max()}) {
    auto in = Hdf5File::create(folder_.file("in.h5"));
    in.write_array("/train/images", torch::zeros({2, 3}, torch::kFloat32));
    in.write_array("/train/labels", torch::tensor({int64_t{0}, label}));
    in.close();
    if (label == kMost) {
      rechunk(folder_.path() / "in.h5", options());
      EXPECT_EQ(opened("train").labels()[1].item<int64_t>(), kMost);
      fs::remove(folder_.path() / "out.h5");
      continue;
    }
    EXPECT_ERROR(rechunk(folder_.path() / "in.h5", options()), DataError, "in.h5",
                 "label " + std::to_string(label), "index 1", "below 2147483648");
    EXPECT_TRUE(nothing_written());
  }
}

TEST_F(ConvertTest, AnExistingTargetIsKeptUnlessForced) {
  auto careful = options();
  careful.overwrite = false;
  put("out.h5", "precious");
  EXPECT_ERROR(synthesize("gaussian", {{"train", 5}}, 0, careful), DataError, "out.h5",
               "exists already", "--force");
  EXPECT_EQ(fs::file_size(folder_.path() / "out.h5"), 8u);
  careful.overwrite = true;
  synthesize("gaussian", {{"train", 5}}, 0, careful);
  EXPECT_EQ(opened("train").size(), 5);
}

TEST_F(ConvertTest, OptionsThatDoNotFitAreNamed) {
  auto compressed = options();
  compressed.storage.gzip_level = 3;
  EXPECT_ERROR(synthesize("gaussian", {{"train", 5}}, 0, compressed), ConfigError, "gzip level 3",
               "--chunk");
  EXPECT_ERROR(synthesize("spiral", {{"train", 5}}, 0, options()), ConfigError, "spiral",
               "swiss-roll");
  EXPECT_ERROR(synthesize("gaussian", {{"trial", 5}}, 0, options()), ConfigError, "trial");
  EXPECT_ERROR(synthesize("gaussian", {{"train", 0}}, 0, options()), ConfigError, "--train 0");
  EXPECT_ERROR(rechunk(folder_.path() / "none.h5", options()), DataError, "none.h5");
  auto nowhere = options();
  nowhere.out = folder_.path() / "no/folder/out.h5";
  EXPECT_ERROR(synthesize("gaussian", {{"train", 5}}, 0, nowhere), DataError, "no/folder",
               "cannot be created");
  EXPECT_TRUE(nothing_written());
}

TEST_F(ConvertTest, SyntheticSetsHaveTheMomentsOfTheirLaw) {
  const int64_t n = 20000;
  const auto read_all = [&](const std::string& kind) {
    synthesize(kind, {{"train", n}}, 7, options());
    Indices all(static_cast<size_t>(n));
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
    return opened("train").read(all);
  };
  // Mean 0, variance 1; the standard error of a variance is sqrt(2 / n).
  const auto gaussian = read_all("gaussian").examples;
  EXPECT_EQ(gaussian.scalar_type(), torch::kFloat64);
  EXPECT_TRUE(gaussian.mean(0).abs().lt(4 / std::sqrt(double(n))).all().item<bool>());
  EXPECT_TRUE(gaussian.var(0).sub(1).abs().lt(4 * std::sqrt(2.0 / double(n))).all().item<bool>());
  // Grid of 5 x 5, spacing 2: variance of {-4, -2, 0, 2, 4} is 8, so
  // (8 + 0.05^2) / 2.828^2 = 1.0006 exactly balanced.
  const auto grid = read_all("gaussians25");
  const auto moment = (8 + 0.0025) / (2.828 * 2.828);
  EXPECT_NEAR(grid.examples.pow(2).mean().item<double>(), moment,
              4 * 2 * 4 * 0.05 / 8 / std::sqrt(2.0 * double(n)));
  EXPECT_TRUE(torch::bincount(grid.labels).eq(n / 25).all().item<bool>());
  // Radius squared of the swiss roll: (E t^2 + 2 * 0.5^2) / 6.865^2; t uniform on [1.5 pi, 4.5 pi],
  // so E t^2 = (1.5 pi)^2 * (1 + 2 + 4/3) = 96.23 with standard deviation below 60.
  const auto roll = read_all("swiss-roll").examples;
  const double mean_square = (std::pow(1.5 * M_PI, 2) * 13 / 3 + 0.5) / (6.865 * 6.865);
  EXPECT_NEAR(roll.pow(2).sum(1).mean().item<double>(), mean_square,
              4 * 65 / (6.865 * 6.865) / std::sqrt(double(n)));
}

TEST_F(ConvertTest, SyntheticSamplesDependOnSeedSplitAndIndexAlone) {
  synthesize("swiss-roll", {{"train", 10}, {"test", 10}}, 7, options());
  const auto train = opened("train").read({3}).examples, test = opened("test").read({3}).examples;
  synthesize("swiss-roll", {{"train", 50}}, 7, options());
  EXPECT_TRUE(torch::equal(opened("train").read({3}).examples, train));
  EXPECT_FALSE(torch::equal(test, train));
  synthesize("swiss-roll", {{"train", 10}}, 8, options());
  EXPECT_FALSE(torch::equal(opened("train").read({3}).examples, train));
}

TEST_F(ConvertTest, InfoTellsShapesStorageLabelsAndFingerprint) {
  auto chunked = options();
  chunked.storage = {4, 1};
  synthesize("gaussians25", {{"train", 50}}, 1, chunked);
  const std::string text = describe_file(folder_.file("out.h5"));
  for (const std::string part : {"train", "(50, 2) float64 (continuous)",
                                 "chunks of (4, 2), gzip 1", "25 classes", ": 2 2 2", "seed 1"}) {
    EXPECT_THAT(text, testing::HasSubstr(part));
  }
  EXPECT_THAT(text, testing::HasSubstr(opened("train").fingerprint()));
  test::write_bytes(folder_.file("text.h5"), "hello");
  EXPECT_ERROR(describe_file(folder_.file("text.h5")), DataError, "text.h5");
}

TEST(Md5, MatchesTheValuesOfItsSpecification) {
  // RFC 1321, A.5.
  EXPECT_EQ(md5(""), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(md5("abc"), "900150983cd24fb0d6963f7d28e17f72");
}

}  // namespace
}  // namespace scorenet::data
