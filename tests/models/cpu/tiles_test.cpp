#include "models/cpu/tiles.hpp"

#include <torch/types.h>

#include "tests/models/cpu/each_target.hpp"
#include "tests/support/noise.hpp"

namespace scorenet::models::cpu {
namespace {

class Tiles : public EachTarget {};
INSTANTIATE_TEST_SUITE_P(All, Tiles, each_target(), name_of_target);

torch::Tensor floats(uint64_t step, c10::IntArrayRef shape) {
  return test::noise(step, 1, shape)[0].to(torch::kFloat32);
}

// Pixels (height, width, channels), dense.
Target target_at(const torch::Tensor& pixels) {
  Target target;
  target.pixel = pixels.data_ptr<float>();
  target.step = pixels.stride(1);
  target.row = pixels.stride(0);
  return target;
}

Tap tap_of(const torch::Tensor& x, const torch::Tensor& weights) {
  return {x.const_data_ptr<float>(),       x.stride(1),      x.stride(0), x.size(2),
          weights.const_data_ptr<float>(), weights.stride(0)};
}

// One number of channels for each way to cut results into tiles: 1 to 5 blocks.
TEST_P(Tiles, SumTapsAndWhatIsAddedToThem) {
  const int64_t depth = 20;
  for (const int64_t blocks : {1, 2, 3, 4, 5}) {
    for (const Area area : {Area{1, 1}, Area{3, 7}, Area{2, 40}}) {
      const auto x = floats(1, {area.height, area.width, depth}), more = floats(2, x.sizes());
      const auto w = floats(3, {blocks, depth, kBlock}), v = floats(4, w.sizes());
      const auto add = floats(5, {blocks * kBlock});
      const auto residual = floats(6, {area.height, area.width, blocks * kBlock});
      const auto made = torch::zeros_like(residual);
      const Tap taps[] = {tap_of(x, w), tap_of(more, v)};
      Target target = target_at(made);
      target.add = add.const_data_ptr<float>();
      target.residual = residual.const_data_ptr<float>();
      target.residual_step = residual.stride(1);
      target.residual_row = residual.stride(0);
      multiply_taps(taps, 2, area, 0, blocks, target);
      const auto product = [](const torch::Tensor& a, const torch::Tensor& b) {
        return torch::matmul(a, b.permute({1, 0, 2}).flatten(1));
      };
      EXPECT_TRUE(
          torch::allclose(made, product(x, w) + product(more, v) + add + residual, 1e-5, 1e-5))
          << blocks << " blocks, " << area.height << " x " << area.width;
    }
  }
}

TEST_P(Tiles, LeaveOtherBlocksAlone) {
  const auto x = floats(1, {1, 5, 8}), w = floats(2, {4, 8, kBlock});
  const auto made = torch::full({1, 5, 4 * kBlock}, 9.0f);
  const Tap tap = tap_of(x, w);
  multiply_taps(&tap, 1, {1, 5}, 1, 3, target_at(made));
  EXPECT_TRUE((made.narrow(2, 0, kBlock) == 9).all().item<bool>());
  EXPECT_TRUE((made.narrow(2, 3 * kBlock, kBlock) == 9).all().item<bool>());
  EXPECT_FALSE((made.narrow(2, kBlock, 2 * kBlock) == 9).any().item<bool>());
}

TEST_P(Tiles, APixelsBitsDependOnItsOwnInputsAlone) {
  const auto x = floats(1, {1, 31, 24}), w = floats(2, {3, 24, kBlock});
  const auto together = torch::zeros({1, 31, 3 * kBlock});
  const Tap tap = tap_of(x, w);
  multiply_taps(&tap, 1, {1, 31}, 0, 3, target_at(together));
  for (int64_t pixel = 0; pixel < 31; ++pixel) {
    const auto alone = torch::zeros({1, 1, 3 * kBlock});
    Tap one = tap;
    one.pixel += pixel * one.step;
    multiply_taps(&one, 1, {1, 1}, 0, 3, target_at(alone));
    EXPECT_TRUE(torch::equal(alone[0][0], together[0][pixel])) << pixel;
  }
}

TEST_P(Tiles, AddOuterProductsOfPixels) {
  for (const int64_t rows : {1, 13, 16, 30}) {
    for (const int64_t blocks : {1, 2, 3}) {
      const Area area{3, 5};
      const auto x = floats(1, {3, 5, rows}), d = floats(2, {3, 5, blocks * kBlock});
      const auto sum = torch::full({blocks, rows, kBlock}, 50.0f);
      OuterShape shape;
      shape.x_step = x.stride(1);
      shape.x_row = x.stride(0);
      shape.d_step = d.stride(1);
      shape.d_row = d.stride(0);
      shape.sum_row = kBlock;
      shape.sum_block = rows * kBlock;
      shape.rows = rows;
      shape.blocks = blocks;
      shape.first = true;  // what was there is overwritten
      const OuterProduct product{x.const_data_ptr<float>(), d.const_data_ptr<float>(),
                                 sum.data_ptr<float>()};
      add_outer_products(&product, 1, area, shape);
      const auto once = torch::einsum("yxi,yxbl->bil", {x, d.view({3, 5, blocks, kBlock})});
      EXPECT_TRUE(torch::allclose(sum, once, 1e-5, 1e-5)) << rows << " " << blocks;
      shape.first = false;
      add_outer_products(&product, 1, area, shape);
      EXPECT_TRUE(torch::allclose(sum, 2 * once, 1e-5, 1e-5)) << rows << " " << blocks;
    }
  }
}

}  // namespace
}  // namespace scorenet::models::cpu
