// What the transformer's kernels compute, checked without a GPU: GELU's slope against autograd, and
// the formulas by ATen that second derivatives take.
#include "models/kernels/tokens.hpp"

#include <gtest/gtest.h>
#include <torch/autograd.h>

#include "models/cpu/instruction_sets.hpp"
#include "models/kernels/gelu_formulas.hpp"

namespace scorenet::models::kernels {
namespace {

TEST(Tokens, GeluAndItsSlopeAreAutograds) {
  const auto a = torch::linspace(-6, 6, 241, torch::kFloat64).requires_grad_();
  const auto y = torch::gelu(a, "tanh");
  const auto slope = torch::autograd::grad({y.sum()}, {a})[0];
  for (int64_t i = 0; i < a.size(0); ++i) {
    const Gelu<double> own = gelu_of(a[i].item<double>());
    EXPECT_NEAR(own.value, y[i].item<double>(), 1e-14) << i;
    EXPECT_NEAR(own.slope, slope[i].item<double>(), 1e-14) << i;
  }
}

TEST(Tokens, TheNormIsThatOfEachTokenScaledAndShiftedByImage) {
  const auto x = torch::arange(2 * 3 * 4, torch::kFloat64).square().view({2, 3, 4});
  const auto shift = torch::arange(8, torch::kFloat64).view({2, 4}), scale = shift * 0.1;
  const auto y = modulated_norm_formula(x, shift, scale, 1e-6);
  const auto token = x[1][2];
  const auto expected = (token - token.mean()) / (token.var(0, false) + 1e-6).sqrt();
  EXPECT_TRUE(torch::allclose(y[1][2], expected * (1 + scale[1]) + shift[1], 1e-12, 1e-12));
}

TEST(Tokens, OnACpuTypeAndShapeDecide) {
  const auto tokens = torch::zeros({1, 4, 64});
  EXPECT_EQ(has_token_route(tokens), cpu::has_fast_target());
  EXPECT_EQ(has_token_route(tokens.to(torch::kBFloat16)), cpu::has_fast_target());
  EXPECT_FALSE(has_token_route(tokens.to(torch::kFloat64)));
  EXPECT_FALSE(has_token_route(tokens[0]) || has_token_route(tokens.narrow(1, 0, 0)));
}

}  // namespace
}  // namespace scorenet::models::kernels
