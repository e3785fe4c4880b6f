// IDX files as published: what is kept, and every kind of damage by name.
#include "framework/data/convert.hpp"
#include "tests/framework/data/convert_case.hpp"

namespace scorenet::data {
namespace {

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

}  // namespace
}  // namespace scorenet::data
