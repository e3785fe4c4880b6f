// The transformer's CPU route against ATen's operations in float64, for each instruction set, and a
// DiT that takes it against one that does not.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

#include "models/cpu/bf16_kernels.hpp"
#include "models/dit.hpp"
#include "models/flops.hpp"
#include "models/kernels/tokens.hpp"
#include "tests/models/cpu/each_target.hpp"
#include "tests/models/token_checks.hpp"

namespace scorenet::models::cpu {
namespace {

using namespace scorenet::test;

// bfloat16 keeps 8 bits: half a last place is 2^-9.
double tolerance(torch::Dtype dtype) { return dtype == torch::kBFloat16 ? 5e-3 : 2e-6; }

// Odd sizes: rows of less than a vector, of one and a rest; parts that are not full.
const TokenRoute kRoute{.device = torch::kCPU,
                        .dtypes = {torch::kFloat32, torch::kBFloat16},
                        .shapes = {{3, 1, 64}, {2, 5, 4}, {2, 130, 36}, {1, 196, 192}, {5, 64, 20}},
                        .channels = 36,
                        .tolerance = tolerance,
                        .gate_bias_tolerance = tolerance,
                        .gelu_bias_tolerance = tolerance,
                        .float_tolerance = 2e-6,
                        .second_tolerance = 2e-5};

class CpuTokens : public EachTarget {};
INSTANTIATE_TEST_SUITE_P(All, CpuTokens, each_target(), name_of_target);

TEST_P(CpuTokens, TheNormAndItsGradientsAreAtens) { check_norm(kRoute); }
TEST_P(CpuTokens, TheGatedSumAndItsGradientsAreAtens) { check_gated_sum(kRoute); }
TEST_P(CpuTokens, GeluBehindItsBiasAndItsGradientsAreAtens) { check_gelu(kRoute); }
TEST_P(CpuTokens, QueriesKeysAndValuesGoApartAndTheirGradientsTogether) { check_heads(kRoute); }
TEST_P(CpuTokens, PartsOfLongerRowsModulate) { check_parts_of_rows(kRoute); }
TEST_P(CpuTokens, SecondDerivativesAreAtens) { check_second_derivatives(kRoute); }

// Far out GELU is 0 or the identity, and what is not a number stays that.
TEST_P(CpuTokens, GeluOfExtremesIsItsLimit) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto a = torch::tensor({-1e4f, -50.0f, 0.0f, 50.0f, 1e4f, nan}).view({1, 1, 6});
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const auto h = a.to(dtype).requires_grad_();
    const auto y = kernels::gelu_behind_bias(h, torch::zeros({6}));
    const auto d_h = torch::autograd::grad({y.sum()}, {h})[0];
    const auto values = y.detach().to(torch::kFloat32).flatten().narrow(0, 0, 5);
    const auto slopes = d_h.to(torch::kFloat32).flatten().narrow(0, 0, 5);
    const auto limits = torch::relu(a.flatten().narrow(0, 0, 5)).to(dtype).to(torch::kFloat32);
    EXPECT_TRUE(torch::allclose(values, limits, 1e-6, 1e-15)) << values;
    EXPECT_TRUE(torch::allclose(slopes, torch::tensor({0.0, 0.0, 0.5, 1.0, 1.0}), 1e-6, 1e-15))
        << slopes;
    EXPECT_TRUE(y[0][0][5].isnan().item<bool>() && d_h[0][0][5].isnan().item<bool>());
  }
}

// With a gate of one the sum in float32 is rounded once: the bits are LibTorch's.
TEST_P(CpuTokens, RoundsToTheNearestBfloat16TiesToEven) {
  const auto a = normal(1, {2, 40, 36}, torch::kBFloat16),
             b = normal(2, a.sizes(), torch::kBFloat16);
  const auto y = kernels::gated_sum(a, torch::ones({2, 36}), b, torch::zeros({36}));
  EXPECT_TRUE(
      torch::equal(y, (a.to(torch::kFloat32) + b.to(torch::kFloat32)).to(torch::kBFloat16)));
}

TEST_P(CpuTokens, AttentionOfPackedHeadsAndItsGradientsAreAtens) {
  if (!bf16_available()) GTEST_SKIP() << "this CPU does not multiply bfloat16";
  for (const TokenShape& s : {TokenShape{2, 1, 32}, {2, 17, 40}, {1, 33, 192}, {2, 196, 64}}) {
    SCOPED_TRACE(s.tokens);
    const auto qkv = normal(1, {s.batch, s.tokens, 3 * s.channels}, torch::kBFloat16);
    ASSERT_EQ(kernels::mixes_heads(qkv), has_fast_target());
    const Tensors in{leaves({qkv}, torch::kBFloat16)[0],
                     normal(2, {3 * s.channels}).requires_grad_()};
    const Tensors d{normal(3, {s.batch, s.tokens, s.channels}, torch::kBFloat16)};
    const auto by = [](auto map) {
      return [map](const Tensors& x) -> Tensors { return {map(x[0], x[1], 2)}; };
    };
    const Tensors a = with_gradients(by(kernels::mix_heads), in, d),
                  b = with_gradients(by(kernels::mix_heads_formula), leaves(in, torch::kFloat64),
                                     leaves(d, torch::kFloat64));
    // Factors are rounded: of sums of many terms some last places more.
    for (size_t i = 0; i < a.size(); ++i) EXPECT_LT(distance(a[i], b[i]), 2e-2) << i;
  }
}

// Everything that is made of x (B, T, C), summed up over nothing but its own image's tokens.
Tensors of_images(const torch::Tensor& x, torch::Dtype dtype) {
  const int64_t batch = x.size(0), channels = x.size(2);
  const auto rows = [&](uint64_t step) {
    return normal(step, {3, channels}, dtype).narrow(0, 0, batch).contiguous().requires_grad_();
  };
  const auto in = x.to(dtype).requires_grad_();
  const auto shift = rows(2), scale = rows(3), gate = rows(4);
  const auto normed = kernels::modulated_norm(in, shift, scale, 1e-6);
  const auto y = kernels::gated_sum(normed.input, gate,
                                    kernels::gelu_behind_bias(normed.normed, normal(5, {channels})),
                                    normal(6, {channels}));
  Tensors all = torch::autograd::grad({y.sum()}, {in, shift, scale, gate});
  all.push_back(y.detach());
  return all;
}

TEST_P(CpuTokens, AnImagesBitsDependOnNeitherItsBatchNorTheThreads) {
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const auto x = normal(1, {3, 150, 36});
    const Tensors together = of_images(x, dtype), alone = of_images(x.narrow(0, 0, 1), dtype);
    at::set_num_threads(2);
    const Tensors shared = of_images(x, dtype);
    at::set_num_threads(1);
    for (size_t i = 0; i < together.size(); ++i) {
      EXPECT_TRUE(torch::equal(together[i].narrow(0, 0, 1), alone[i])) << i;
      EXPECT_TRUE(torch::equal(together[i], shared[i])) << i;
    }
  }
}

// ---- The transformer.

const TransformerCase kTransformer{.dit = {.width = 36, .depth = 3, .heads = 3, .dropout = 0.2},
                                   .shape = {3, 10, 12},
                                   .device = torch::kCPU};

TEST(CpuTransformer, TheNetworkAndItsGradientsAreThoseOfAten) {
  for (const auto compute : {torch::kFloat32, torch::kBFloat16}) {
    const auto [own, aten] = distances_of(kTransformer, compute);
    EXPECT_LT(own, compute == torch::kFloat32 ? 1e-5 : 1.5 * aten);
  }
}

TEST(CpuTransformer, RecomputedItHasTheSameBits) {
  for (const auto compute : {torch::kFloat32, torch::kBFloat16})
    check_recomputed(kTransformer, compute);
}

// What a likelihood by expansion asks for.
TEST(CpuTransformer, HasSecondDerivatives) {
  const auto second = [](const std::string& route, torch::Dtype dtype) {
    const auto network = transformer(kTransformer, route);
    network->to(dtype);
    const auto x = normal(8, {2, 3, 10, 12}, dtype).requires_grad_();
    const auto y = network->forward({x, torch::tensor({-3.0, 1.0}), {}, nullptr});
    const auto d_x = torch::autograd::grad({y.square().sum()}, {x}, {}, true, true)[0];
    return torch::autograd::grad({d_x.square().sum()}, {x})[0];
  };
  EXPECT_LT(distance(second("auto", torch::kFloat32), second("aten", torch::kFloat64)), 1e-4);
}

TEST(CpuTransformer, TakesTheRouteWhereItMay) {
  DiTOptions options = kTransformer.dit;
  DiTBlock block(options, 0);
  options.kernels = "aten";
  DiTBlock plain(options, 0);
  const auto x = torch::zeros({1, 4, 36});
  EXPECT_EQ(block->has_own_kernels(x), has_fast_target());
  EXPECT_FALSE(plain->has_own_kernels(x));
  EXPECT_FALSE(block->has_own_kernels(x.to(torch::kFloat64)));
  // Operations are counted by ATen's own.
  const auto network = transformer(kTransformer, "auto"),
             by_aten = transformer(kTransformer, "aten");
  EXPECT_EQ(forward_flops(*network, {3, 10, 12}), forward_flops(*by_aten, {3, 10, 12}));
}

}  // namespace
}  // namespace scorenet::models::cpu
