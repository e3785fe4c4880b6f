#include "models/cpu/pixel_planes.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include "tests/support/noise.hpp"

namespace scorenet::models::cpu {
namespace {

// Of step 1 and 2: pixel (y, x), border included, is where at() says, and all else is zero.
TEST(PixelPlanes, HoldEveryPixelWhereTheySay) {
  if (!bf16_available()) GTEST_SKIP() << "this CPU does not multiply bfloat16";
  for (const int64_t step : {1, 2}) {
    for (const int64_t channels : {16, 48}) {
      const Area grid{3, 5}, area{step * grid.height, step * grid.width};
      auto memory = torch::zeros({area.height + 2, area.width + 2, channels});
      memory.narrow(0, 1, area.height)
          .narrow(1, 1, area.width)
          .copy_(test::noise(1, 1, {area.height, area.width, channels})[0]);
      const View image{memory.data_ptr<float>() + memory.stride(0) + channels,
                       channels,
                       memory.stride(0),
                       memory.numel(),
                       channels,
                       area};
      const PixelPlanes planes(grid, step, channels);
      const auto rounded = torch::full({planes.image()}, 9.0f).to(torch::kBFloat16);
      planes.read(image, static_cast<Bf16*>(rounded.data_ptr()));

      auto expected = torch::zeros_like(rounded);
      for (int64_t y = 0; y < area.height; ++y) {
        for (int64_t x = 0; x < area.width; ++x) {
          for (int64_t j = 0; j < planes.chunks(); ++j) {
            const int64_t first = j * kDepth, count = std::min(kDepth, channels - first);
            expected.narrow(0, planes.at(j, y, x), count)
                .copy_(memory[y + 1][x + 1].narrow(0, first, count));
          }
        }
      }
      EXPECT_TRUE(torch::equal(rounded, expected)) << "step " << step << ", " << channels;
    }
  }
}

TEST(PixelPlanes, ATapIsAShiftOfAllNumbersAtOnce) {
  const PixelPlanes planes({3, 5}, 1, 16);
  for (const auto& [y, x] : {std::pair<int64_t, int64_t>{0, 0}, {1, 4}, {2, 2}})
    EXPECT_EQ(planes.pixel_of(y, x), planes.pixel_of(0, 0) + y * planes.pitch() + x);
  // Of step 2 the places that share a parity share a plane.
  const PixelPlanes halves({3, 5}, 2, 16);
  EXPECT_EQ(halves.plane_of(1, 0), halves.plane_of(-1, 2));
  EXPECT_NE(halves.plane_of(1, 0), halves.plane_of(0, 1));
}

}  // namespace
}  // namespace scorenet::models::cpu
