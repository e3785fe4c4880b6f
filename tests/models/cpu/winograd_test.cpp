// Winograd's tiles: the convolution and the gradient of its kernel that the transforms make, for
// each instruction set, and how much more their results are rounded than those of smaller tiles.
#include "models/cpu/winograd.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "models/cpu/winograd_weights.hpp"
#include "tests/models/cpu/each_target.hpp"
#include "tests/support/noise.hpp"

namespace scorenet::models::cpu {
namespace {

constexpr int64_t kTiles = 5, kIn = 32;  // of a row; channels read. Results: one block

torch::Tensor floats(uint64_t step, c10::IntArrayRef shape) {
  return test::noise(step, 1, shape)[0].to(torch::kFloat32);
}

double relative_error(const torch::Tensor& is, const torch::Tensor& exact) {
  return ((is.to(torch::kFloat64) - exact).norm() / exact.norm()).item<double>();
}

// One row of tiles of an image (pixels, channels) with one pixel more on each side.
struct Row {
  explicit Row(int64_t tile_side)
      : side(tile_side),
        planes(winograd_planes(side)),
        x(floats(1, {side + 2, kTiles * side + 2, kIn})),
        kernels(floats(2, {kBlock, kIn, 3, 3})) {}

  TileRow tiles(int64_t channels) const {
    return {side, kTiles, channels, channels, kTiles * channels};
  }
  // (planes, tiles, channels)
  torch::Tensor input() const {
    const auto v = torch::empty({planes, kTiles, kIn});
    winograd_input(tiles(kIn), x.const_data_ptr<float>(), kIn, x.stride(0), v.data_ptr<float>());
    return v;
  }
  // (planes, inputs, results)
  torch::Tensor weights() const {
    const auto u = torch::empty({planes, kIn, kBlock});
    const auto by_lane = kernels.permute({1, 2, 3, 0}).contiguous();
    for (int64_t i = 0; i < kIn; ++i) {
      winograd_weights(side, by_lane[i].const_data_ptr<float>(), 1, kIn * kBlock,
                       u.data_ptr<float>() + i * kBlock);
    }
    return u;
  }
  // (side, tiles side, results) in float64.
  torch::Tensor convolved() const {
    return torch::conv2d(x.to(torch::kFloat64).permute({2, 0, 1}).unsqueeze(0),
                         kernels.to(torch::kFloat64))[0]
        .permute({1, 2, 0});
  }
  torch::Tensor convolved_by_tiles(const float* add, const torch::Tensor& residual) const {
    const auto m = torch::bmm(input(), weights());
    const auto y = torch::empty({side, kTiles * side, kBlock});
    WinogradTarget target{y.data_ptr<float>(), kBlock, y.stride(0), add, nullptr, 0, 0};
    if (residual.defined()) {
      target.residual = residual.const_data_ptr<float>();
      target.residual_step = residual.stride(1);
      target.residual_row = residual.stride(0);
    }
    winograd_output(tiles(kBlock), m.const_data_ptr<float>(), target);
    return y;
  }

  int64_t side, planes;
  torch::Tensor x, kernels;
};

class Winograd : public EachTarget {};
INSTANTIATE_TEST_SUITE_P(All, Winograd, each_target(), name_of_target);

TEST_P(Winograd, TilesMakeTheConvolution) {
  for (const int64_t side : {2, 4}) {
    const Row row(side);
    const auto add = floats(3, {kBlock}), residual = floats(4, {side, kTiles * side, kBlock});
    EXPECT_LT(relative_error(row.convolved_by_tiles(nullptr, {}), row.convolved()), 2e-6);
    EXPECT_LT(relative_error(row.convolved_by_tiles(add.const_data_ptr<float>(), residual),
                             row.convolved() + add + residual),
              2e-6);
  }
}

TEST_P(Winograd, TilesMakeTheGradientOfTheKernel) {
  for (const int64_t side : {2, 4}) {
    const Row row(side);
    const auto d = floats(5, {side, kTiles * side, kBlock});
    const auto of_tiles = torch::empty({row.planes, kTiles, kBlock});
    winograd_gradient(row.tiles(kBlock), d.const_data_ptr<float>(), kBlock, d.stride(0),
                      of_tiles.data_ptr<float>());
    const auto sums = torch::bmm(row.input().transpose(1, 2), of_tiles);  // (planes, in, out)
    const auto gradient = torch::empty({kIn, 9, kBlock});
    for (int64_t i = 0; i < kIn; ++i) {
      winograd_kernels(side, sums.const_data_ptr<float>() + i * kBlock, sums.stride(0),
                       gradient[i].data_ptr<float>());
    }
    const auto expected = torch::empty({kIn, 9, kBlock}, torch::kFloat64);
    for (int64_t y = 0; y < 3; ++y) {
      for (int64_t x = 0; x < 3; ++x) {
        const auto read = row.x.slice(0, y, y + side).slice(1, x, x + kTiles * side);
        expected.select(1, 3 * y + x)
            .copy_(torch::einsum("yxi,yxo->io", {read.to(torch::kFloat64), d.to(torch::kFloat64)}));
      }
    }
    EXPECT_LT(relative_error(gradient, expected), 3e-6);
  }
}

// What the gradient of the input reads.
TEST_P(Winograd, AKernelCanBeReadFromItsLastEntryOn) {
  const auto kernel = floats(6, {9, kBlock});
  const auto turned = kernel.flip({0}).contiguous();
  for (const int64_t side : {2, 4}) {
    const auto forward = torch::empty({winograd_planes(side), kBlock}),
               backward = torch::empty_like(forward);
    winograd_weights(side, turned.const_data_ptr<float>(), 1, kBlock, forward.data_ptr<float>());
    winograd_weights(side, kernel.const_data_ptr<float>() + 8 * kBlock, -1, kBlock,
                     backward.data_ptr<float>());
    EXPECT_TRUE(torch::equal(forward, backward));
  }
}

// ---- Rounding.

// B^T, G and A^T of F(m, 3) whose polynomials are known at `points` and at infinity, m one fewer
// than the points (Lavin and Gray 2015, section 4; Toom-Cook, transposed).
struct Matrices {
  explicit Matrices(const std::vector<double>& points) {
    const auto n = static_cast<int64_t>(points.size()) + 1, m = n - 2;
    input = torch::zeros({n, n}, torch::kFloat64);
    kernel = torch::zeros({n, 3}, torch::kFloat64);
    output = torch::zeros({m, n}, torch::kFloat64);
    for (int64_t i = 0; i < n - 1; ++i) {
      const double a = points[static_cast<size_t>(i)];
      double distances = 1;
      auto others = torch::zeros({n}, torch::kFloat64);  // coefficients of prod_(b != a) (t - b)
      others[0] = 1;
      for (const double b : points) {
        if (b == a) continue;
        others = others.roll(1) - b * others;
        distances *= a - b;
      }
      input[i] = others;
      for (int64_t j = 0; j < 3; ++j)
        kernel[i][j] = std::pow(a, static_cast<double>(j)) / distances;
      for (int64_t j = 0; j < m; ++j) output[j][i] = std::pow(a, static_cast<double>(j));
    }
    input[n - 1] = input[0].roll(1) - points[0] * input[0];
    kernel[n - 1][2] = output[m - 1][n - 1] = 1;
  }

  torch::Tensor input, kernel, output;
};

// Of results that are sums over 64 channels, in `dtype`, over their norm.
double rounding_of(const Matrices& by, torch::Dtype dtype) {
  const int64_t n = by.input.size(0);
  const auto x = floats(7, {200, 64, n, n}), k = floats(8, {8, 64, 3, 3});
  const auto along = [&](const torch::Tensor& matrix, const torch::Tensor& t) {
    const auto m = matrix.to(dtype);
    return torch::matmul(torch::matmul(m, t.to(dtype)), m.t());
  };
  const auto sums = torch::einsum("tcyx,ocyx->toyx", {along(by.input, x), along(by.kernel, k)});
  return relative_error(along(by.output, sums),
                        torch::conv2d(x.to(torch::kFloat64), k.to(torch::kFloat64)));
}

// What winograd.hpp says of the points: with +-2/3 and +-3/2 results of 4x4 tiles are about three
// times as far from the exact ones as those of 2x2 tiles, with +-1 and +-2 more than six times.
TEST(WinogradRounding, OfLargeTilesIsThreeTimesThatOfSmallOnes) {
  const Matrices small({0, 1, -1}), chosen({0, kNear, -kNear, kFar, -kFar}),
      usual({0, 1, -1, 2, -2});
  for (const Matrices& matrices : {small, chosen, usual})
    EXPECT_LT(rounding_of(matrices, torch::kFloat64), 1e-14);  // they are F(m, 3)
  const double of_small = rounding_of(small, torch::kFloat32);
  const double of_chosen = rounding_of(chosen, torch::kFloat32) / of_small;
  const double of_usual = rounding_of(usual, torch::kFloat32) / of_small;
  std::printf("rounding over that of 2x2: %.2f, with the usual points %.2f\n", of_chosen, of_usual);
  EXPECT_NEAR(of_chosen, 3, 0.5);
  EXPECT_NEAR(of_usual, 6.5, 1);
}

TEST_P(Winograd, RoundsAsItsMatricesDo) {
  const auto of = [](int64_t side) {
    const Row row(side);
    return relative_error(row.convolved_by_tiles(nullptr, {}), row.convolved());
  };
  EXPECT_NEAR(of(4) / of(2), 3, 1.5);
}

}  // namespace
}  // namespace scorenet::models::cpu
