// Folders of pictures as people have them: what is read, what is told, what is refused.
#include "framework/data/picture.hpp"

#include <webp/encode.h>

#include <filesystem>

#include "framework/core/random.hpp"
#include "framework/data/convert.hpp"
#include "framework/data/describe.hpp"
#include "framework/data/image_dataset.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/picture_bytes.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::data {
namespace {

namespace fs = std::filesystem;
using test::big_endian;
using testing::Contains;
using testing::HasSubstr;
using Names = std::vector<std::string>;

enum PngColour : char { grey = 0, rgb = 2, grey_alpha = 4, rgb_alpha = 6 };

// `rows` are the values without the filter bytes; `extra` goes before the pixels.
std::string png(int64_t width, int64_t height, char bits, PngColour colour, const std::string& rows,
                const std::string& extra = "") {
  std::string raw;
  const size_t row = rows.size() / static_cast<size_t>(height);
  for (size_t i = 0; i < static_cast<size_t>(height); ++i) raw += '\0' + rows.substr(i * row, row);
  return test::png_file(big_endian(static_cast<size_t>(width)) +
                            big_endian(static_cast<size_t>(height)) + bits +
                            static_cast<char>(colour) + std::string(3, '\0'),
                        raw, extra);
}

// A TIFF block whose one entry is the orientation.
std::string exif(char orientation) {
  std::string block("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", 19);
  block.push_back(orientation);
  block.append(6, '\0');
  return block;
}

// 16 x 8 grey: `left` in the left half, `right` in the right one, whole blocks of 8 x 8.
std::string jpeg(int left, int right, const std::string& app1 = "") {
  return test::jpeg_file(
      1, [](jpeg_compress_struct&) {}, app1,
      [&](size_t) {
        return std::string(8, static_cast<char>(left)) + std::string(8, static_cast<char>(right));
      });
}

std::string grey_png(int value) {
  return png(2, 2, 8, grey, std::string(4, static_cast<char>(value)));
}

class PictureTest : public testing::Test {
 protected:
  void put(const std::string& name, const std::string& bytes) {
    test::write_bytes(folder_.path() / "in" / name, bytes);
  }
  std::vector<std::string> convert(FolderLayout layout = FolderLayout::automatic) {
    ConvertOptions options;
    options.out = folder_.file("out.h5");
    options.overwrite = true;
    options.validation = 0;
    options.layout = layout;
    return convert_folder(folder_.path() / "in", options);
  }
  Hdf5File file() { return Hdf5File::open(folder_.file("out.h5")); }
  torch::Tensor images(const std::string& split = "train") {
    ImageDataset dataset(folder_.file("out.h5"), split);
    return dataset.read(slot_range(0, dataset.size())).examples;
  }
  void refused(const std::string& named) {
    EXPECT_ERROR(convert(), DataError, named);
    EXPECT_FALSE(fs::exists(folder_.path() / "out.h5"));
  }

  test::TemporaryFolder folder_;
};

TEST_F(PictureTest, EveryUsualNameOfASplitIsRead) {
  for (const std::string name : {"validation", "val", "valid", "dev", "Val"}) {
    fs::remove_all(folder_.path() / "in");
    put("train/a/0.png", grey_png(1));
    put(name + "/a/0.png", grey_png(2));
    convert();
    EXPECT_EQ(splits_of(file()), (Names{"train", "validation"}));
    EXPECT_TRUE(images("validation").eq(2).all().item<bool>());
  }
  put("extra/a/0.png", grey_png(1));
  EXPECT_ERROR(convert(), DataError, "extra", "--layout");
}

TEST_F(PictureTest, ClassesMayBeCalledAsSplitsAre) {
  put("cat/0.png", grey_png(1));
  put("train/0.png", grey_png(2));
  convert();
  EXPECT_EQ(file().read_strings("/classes"), (Names{"cat", "train"}));
  fs::remove_all(folder_.path() / "in/cat");
  fs::remove(folder_.path() / "out.h5");
  put("test/0.png", grey_png(1));
  refused("--layout classes or --layout splits");
  convert(FolderLayout::classes);
  EXPECT_EQ(file().read_strings("/classes"), (Names{"test", "train"}));
  convert(FolderLayout::splits);
  EXPECT_EQ(splits_of(file()), (Names{"test", "train"}));
}

TEST_F(PictureTest, WhatIsLeftOutIsCountedAndNamedOnce) {
  put("a/0.png", grey_png(1));
  put("a/deep/1.png", grey_png(1));
  put("top.png", grey_png(1));
  for (const std::string name : {"a/2.bmp", "a/2.gif", "a/2.tif", "a/3.tif", "a/.DS_Store",
                                 ".git/0.png", "a/._0.png", "__MACOSX/0.png", "b/Thumbs.db"}) {
    put(name, "x");
  }
  const auto notes = convert();
  EXPECT_EQ(images().size(0), 2);
  EXPECT_EQ(file().read_strings("/classes"), Names{"a"});
  EXPECT_THAT(notes, Contains(HasSubstr("outside the class folders left out: 1 (top.png)")));
  EXPECT_THAT(notes, Contains(HasSubstr("deeper folders, read: 1 (a/deep/1.png)")));
  EXPECT_THAT(notes, Contains(HasSubstr(": 2 (a/2.tif, a/3.tif)")));
  EXPECT_THAT(notes, Contains(HasSubstr("hidden files and folders left out: 5")));
  EXPECT_THAT(notes, Contains(HasSubstr("folders without a picture: 1 (b)")));
}

TEST_F(PictureTest, PicturesWithoutFoldersHaveNoLabels) {
  put("0.png", grey_png(1));
  put("1.png", grey_png(2));
  convert();
  EXPECT_EQ(images().size(0), 2);
  EXPECT_FALSE(file().has("/train/labels"));
}

TEST_F(PictureTest, ManyClassNamesAreKept) {
  for (int i = 0; i < 1100; ++i) {
    put(std::string(60, 'n') + std::to_string(10000 + i) + "/0.png", grey_png(0));
  }
  convert();
  EXPECT_EQ(file().read_strings("/classes").size(), 1100u);
  EXPECT_THAT(describe_file(folder_.file("out.h5")), HasSubstr("classes: 1100: nnn"));
}

TEST_F(PictureTest, TwelveBitGreyKeepsAsManyLevelsAsEightBitsHave) {
  std::string rows;
  for (int i = 0; i < 64; ++i)
    rows += {static_cast<char>(i * 64 / 256), static_cast<char>(i * 64 % 256)};
  put("a/0.png", png(8, 8, 16, grey, rows));
  EXPECT_THAT(convert(), Contains(HasSubstr("0 to 4095 became 0 to 255")));
  // 64 i of 4095 is round(255 * 64 i / 4095).
  for (int64_t i = 0; i < 64; ++i) {
    EXPECT_EQ(images()[0][0][i / 8][i % 8].item<int64_t>(), (255 * 64 * i + 2047) / 4095);
  }
}

TEST_F(PictureTest, TransparentPixelsAreLaidOverWhiteAndTold) {
  put("a/0.png", png(1, 1, 8, rgb_alpha, std::string{10, 20, 30, 0}));
  EXPECT_THAT(convert(), Contains(HasSubstr("laid over white: 1 (a/0.png)")));
  EXPECT_TRUE(images().eq(255).all().item<bool>());
  put("a/0.png", png(1, 1, 8, grey_alpha, std::string{10, '\xff'}));
  EXPECT_THAT(convert(), testing::IsEmpty());  // opaque: nothing is lost
  EXPECT_TRUE(images().eq(10).all().item<bool>());
}

TEST_F(PictureTest, ExifOrientationIsApplied) {
  // 6: the stored top is the right side, so the stored left half is the upper one.
  put("a/0.jpg", jpeg(0, 255, std::string("Exif\0\0", 6) + exif(6)));
  EXPECT_THAT(convert(), Contains(HasSubstr("EXIF orientation: 1 (a/0.jpg)")));
  ASSERT_EQ(images().sizes(), (std::vector<int64_t>{1, 1, 16, 8}));
  EXPECT_TRUE(images()[0][0].narrow(0, 0, 8).eq(0).all().item<bool>());
  EXPECT_TRUE(images()[0][0].narrow(0, 8, 8).eq(255).all().item<bool>());
  fs::remove(folder_.path() / "in/a/0.jpg");
  put("a/0.png", png(2, 1, 8, grey, std::string{1, 2}, test::png_chunk("eXIf", exif(3))));
  convert();
  EXPECT_EQ(images()[0][0][0][0].item<int64_t>(), 2);
}

TEST_F(PictureTest, WebpIsRead) {
  const std::string pixel{10, 20, 30};
  uint8_t* out = nullptr;
  const size_t size =
      WebPEncodeLosslessRGB(reinterpret_cast<const uint8_t*>(pixel.data()), 1, 1, 3, &out);
  put("a/0.webp", std::string(reinterpret_cast<char*>(out), size));
  WebPFree(out);
  convert();
  EXPECT_TRUE(torch::equal(images().flatten(), torch::tensor({10, 20, 30}, torch::kUInt8)));
}

TEST_F(PictureTest, DamageIsRefusedByName) {
  std::string pixels;
  for (int i = 0; i < 64 * 64; ++i) pixels += static_cast<char>(i * i);
  const std::string good = png(64, 64, 8, grey, pixels);
  std::string flipped = good;
  flipped[good.size() / 2] ^= 16;
  for (const auto& bytes :
       {flipped, good.substr(0, good.size() / 2), good.substr(0, good.size() - 12),
        good.substr(0, 20), std::string("GIF89a"), std::string()}) {
    put("a/0.png", bytes);
    refused("a/0.png");
  }
  fs::remove(folder_.path() / "in/a/0.png");
  const std::string whole = jpeg(0, 255);
  put("a/0.jpg", whole.substr(0, whole.size() - 6));
  refused("a/0.jpg");
}

TEST_F(PictureTest, SizesThatTheFileCannotHoldAreRefused) {
  put("a/0.png", png(16000, 16000, 8, grey, std::string(16000, '\0')));
  refused("16000 x 16000");
}

}  // namespace
}  // namespace scorenet::data
