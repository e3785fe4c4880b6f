// Flips, and PNG files as other programs see them.
#include "framework/data/transform.hpp"

#include "framework/core/random.hpp"
#include "framework/data/png.hpp"
#include "framework/files/atomic_file.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace scorenet::data {
namespace {

TEST(Transform, AFlipMirrorsTheLastAxisOfTheChosenSlotsAlone) {
  const RandomKey key{5, RandomStream::augmentation, 8};
  for (const auto dtype : {torch::kUInt8, torch::kFloat32, torch::kFloat64}) {
    const auto original =
        torch::arange(40 * 2 * 3 * 5, torch::kInt64).remainder(251).to(dtype).view({40, 2, 3, 5});
    auto flipped = original.clone();
    flip_for_slots(flipped, slot_range(10, 40), 5, 8);
    const auto chosen = uniform_for_slots(key, slot_range(10, 40), {}, torch::kFloat32) < 0.5;
    EXPECT_GT(chosen.sum().item<int64_t>(), 8);  // 20 expected, standard deviation 3.2
    EXPECT_LT(chosen.sum().item<int64_t>(), 32);
    EXPECT_TRUE(torch::equal(flipped,
                             torch::where(chosen.view({40, 1, 1, 1}), original.flip(3), original)));
  }
}

TEST(Transform, FlipsDependOnSeedAndStep) {
  const auto flips = [](uint64_t seed, int64_t step) {
    auto images = torch::tensor({0, 1}, torch::kInt64).to(torch::kUInt8).repeat({64, 1});
    flip_for_slots(images, slot_range(0, 64), seed, step);
    return images.select(1, 0).contiguous();
  };
  EXPECT_TRUE(torch::equal(flips(1, 2), flips(1, 2)));
  EXPECT_FALSE(torch::equal(flips(1, 2), flips(1, 3)));
  EXPECT_FALSE(torch::equal(flips(1, 2), flips(2, 2)));
}

torch::Tensor decoded(const std::string& path) {
  int width = 0, height = 0, channels = 0;
  stbi_uc* pixels = stbi_load(path.c_str(), &width, &height, &channels, 0);
  EXPECT_NE(pixels, nullptr);
  const auto image = torch::from_blob(pixels, {height, width, channels}, torch::kUInt8).clone();
  stbi_image_free(pixels);
  return image;
}

TEST(Png, AnotherDecoderReadsTheGridBackPixelByPixel) {
  const test::TemporaryFolder folder;
  for (const int64_t channels : {1, 3}) {
    // 5 images of 4 x 3 in 3 columns with 2 pixels between: 2 rows of 4 and 2 between, so 10 x 13.
    const auto images = torch::arange(5 * channels * 12, torch::kInt64)
                            .add(1)
                            .to(torch::kUInt8)
                            .view({5, channels, 4, 3});
    write_png_grid(folder.file("grid.png"), images, 3);
    const auto grid = decoded(folder.file("grid.png"));
    EXPECT_EQ(grid.sizes(), (std::vector<int64_t>{10, 13, channels}));
    EXPECT_TRUE(torch::equal(grid.slice(0, 6, 10).slice(1, 5, 8), images[4].permute({1, 2, 0})));
    EXPECT_TRUE(grid.slice(0, 4, 6).eq(0).all().item<bool>());
    EXPECT_TRUE(
        grid.slice(0, 6, 10).slice(1, 10, 13).eq(0).all().item<bool>());  // the place of a sixth
  }
}

TEST(Png, OneImageWithoutPaddingIsThatImageAlone) {
  const auto image = torch::full({1, 1, 4, 3}, 9, torch::kUInt8);
  EXPECT_EQ(image_grid(image, 8, 0).sizes(), (std::vector<int64_t>{4, 3, 1}));
}

TEST(Png, OfOtherThanOneOrThreeChannelsEachHasATileBesideTheOthers) {
  const test::TemporaryFolder folder;
  for (const int64_t channels : {2, 4, 5}) {
    // 3 images of 4 x 3 in 2 columns, 1 pixel between tiles: 2 rows of 4 and 1 between, 2 C tiles
    // of 3 and 2 C - 1 between.
    const auto images = torch::arange(3 * channels * 12, torch::kInt64)
                            .add(1)
                            .to(torch::kUInt8)
                            .view({3, channels, 4, 3});
    write_png_grid(folder.file("grid.png"), images, 2, 1);
    const auto grid = decoded(folder.file("grid.png"));
    EXPECT_EQ(grid.sizes(), (std::vector<int64_t>{9, 8 * channels - 1, 1}));
    for (int64_t image = 0; image < 3; ++image) {
      for (int64_t channel = 0; channel < channels; ++channel) {
        const int64_t top = image / 2 * 5, left = (image % 2 * channels + channel) * 4;
        EXPECT_TRUE(torch::equal(grid.slice(0, top, top + 4).slice(1, left, left + 3).select(2, 0),
                                 images[image][channel]));
      }
    }
  }
}

TEST(Png, NamedChannelsAreShownAsColoursOrGrey) {
  const test::TemporaryFolder folder;
  const auto image = torch::arange(60, torch::kInt64).to(torch::kUInt8).view({1, 5, 4, 3});
  write_png_grid(folder.file("rgb.png"), image, 8, 2, {}, {4, 0, 2});
  EXPECT_TRUE(torch::equal(decoded(folder.file("rgb.png")),
                           torch::stack({image[0][4], image[0][0], image[0][2]}, 2)));
  write_png_grid(folder.file("grey.png"), image, 8, 2, {}, {3});
  EXPECT_TRUE(torch::equal(decoded(folder.file("grey.png")).select(2, 0), image[0][3]));
  check_channels({}, 5, "--grid-channels");
  check_channels({4, 4, 0}, 5, "--grid-channels");
  EXPECT_ERROR(check_channels({0, 1}, 5, "--grid-channels"), ConfigError, "--grid-channels 0,1",
               "0 to 4");
  EXPECT_ERROR(check_channels({0, 1, 5}, 5, "--grid-channels"), ConfigError, "0,1,5");
  EXPECT_ERROR(check_channels({-1}, 2, "--grid-channels"), ConfigError, "-1", "0 to 1");
}

TEST(Png, MetadataStandsInTextChunksWithTheirChecksum) {
  const test::TemporaryFolder folder;
  write_png_grid(folder.file("grid.png"), torch::zeros({1, 1, 2, 2}, torch::kUInt8), 1, 0,
                 {{"step", "512"}});
  const std::string bytes = files::read_file(folder.file("grid.png"));
  // Length 8, "tEXt", "step", a zero byte, "512", then Python's
  // zlib.crc32(b"tEXtstep" + bytes(1) + b"512").
  const std::string chunk(
      "\0\0\0\x08tEXtstep\0"
      "512\x4b\x33\xf0\x08",
      20);
  EXPECT_EQ(bytes.substr(33, 20), chunk);  // right after IHDR
  EXPECT_EQ(bytes.substr(33 + 16 + 4 + 4, 4), "IDAT");
  EXPECT_EQ(decoded(folder.file("grid.png")).size(0), 2);
}

TEST(Png, WhatIsNoImageIsNamed) {
  EXPECT_ERROR(image_grid(torch::zeros({1, 2, 4, 4}, torch::kUInt8), 1, 0), ShapeError,
               "(1, 2, 4, 4)", "C = 1 or 3");
  EXPECT_ERROR(image_grid(torch::zeros({1, 1, 4, 4}), 1, 0), ShapeError, "Float");
  EXPECT_ERROR(image_grid(torch::zeros({0, 1, 4, 4}, torch::kUInt8), 1, 0), ShapeError,
               "(0, 1, 4, 4)");
  EXPECT_ERROR(image_grid(torch::zeros({1, 1, 4, 4}, torch::kUInt8), 0, 0), ShapeError,
               "0 columns");
  EXPECT_ERROR(
      write_png_grid("/no/such/folder/a.png", torch::zeros({1, 1, 4, 4}, torch::kUInt8), 1),
      DataError, "/no/such/folder");
}

}  // namespace
}  // namespace scorenet::data
