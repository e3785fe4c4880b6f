// Folders of pictures: classes, splits and what does not fit.
#include "framework/data/convert.hpp"
#include "framework/data/png.hpp"
#include "tests/framework/data/convert_case.hpp"

namespace scorenet::data {
namespace {

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

}  // namespace
}  // namespace scorenet::data
