// The transformer's CPU route against ATen's operations in float64, for each instruction set, and a
// DiT that takes it against one that does not.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>

#include "models/autocast.hpp"
#include "models/cpu/bf16_kernels.hpp"
#include "models/dit.hpp"
#include "models/flops.hpp"
#include "models/kernels/tokens.hpp"
#include "models/make_model.hpp"
#include "tests/models/each_target.hpp"
#include "tests/support/noise.hpp"

namespace scorenet::models::cpu {
namespace {

using Tensors = std::vector<torch::Tensor>;
using Map = std::function<Tensors(const Tensors&)>;

torch::Tensor normal(uint64_t step, c10::IntArrayRef shape, torch::Dtype dtype = torch::kFloat32) {
  return test::noise(step, 1, shape)[0].to(dtype);
}

// Greatest difference over the size of what is expected.
double distance(const torch::Tensor& is, const torch::Tensor& expected) {
  const auto precise = expected.to(torch::kFloat64);
  return ((is.to(torch::kFloat64) - precise).abs().max() / (precise.abs().max() + 0.1))
      .item<double>();
}

// bfloat16 keeps 8 bits: half a last place is 2^-9.
double tolerance(torch::Dtype dtype) { return dtype == torch::kBFloat16 ? 5e-3 : 2e-6; }

Tensors leaves(const Tensors& given, torch::Dtype dtype) {
  Tensors all;
  for (const auto& t : given) all.push_back(t.detach().to(dtype).requires_grad_());
  return all;
}

// The results, then the gradients in every input.
Tensors with_gradients(const Map& map, const Tensors& inputs, const Tensors& d_results) {
  Tensors out = map(inputs), d;
  for (const auto& t : d_results) d.push_back(t.to(out[0].scalar_type()));
  const Tensors gradients = torch::autograd::grad(out, inputs, d);
  for (auto& t : out) t = t.detach();
  out.insert(out.end(), gradients.begin(), gradients.end());
  return out;
}

// Of `dtype`, but for biases, which are float32: numbers `bias` of the list, if any.
Tensors inputs_for(const Tensors& given, torch::Dtype dtype, int bias) {
  Tensors in = leaves(given, dtype);
  if (bias >= 0) {
    const auto at = static_cast<size_t>(bias);
    in[at] = given[at].detach().to(torch::kFloat32).requires_grad_();
  }
  return in;
}

// The same numbers by kernels, and by the formula in float64. Sums over tokens may be as far off as
// `sum_tolerance`.
void expect_equal(const Map& is, const Map& formula, const Tensors& given, const Tensors& d_results,
                  torch::Dtype dtype, int bias = -1) {
  const Tensors in = inputs_for(given, dtype, bias);
  const Tensors a = with_gradients(is, in, d_results),
                b = with_gradients(formula, leaves(in, torch::kFloat64),
                                   leaves(leaves(d_results, dtype), torch::kFloat64));
  for (size_t i = 0; i < a.size(); ++i) EXPECT_LT(distance(a[i], b[i]), tolerance(dtype)) << i;
}

struct Shape {
  int64_t batch, tokens, channels;
};

// Odd sizes: rows of less than a vector, of one and a rest; parts that are not full.
void for_every_shape(const std::function<void(const Shape&, torch::Dtype)>& test) {
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    for (const Shape& shape :
         {Shape{3, 1, 64}, {2, 5, 4}, {2, 130, 36}, {1, 196, 192}, {5, 64, 20}}) {
      SCOPED_TRACE(std::to_string(shape.batch) + " x " + std::to_string(shape.tokens) + " x " +
                   std::to_string(shape.channels) + " " + c10::toString(dtype));
      test(shape, dtype);
    }
  }
}

// Two results: the norm, and x, whose own gradient joins.
Tensors norm_by_kernels(const Tensors& in) {
  const auto out = kernels::modulated_norm(in[0], in[1], in[2], 1e-6);
  return {out.normed, out.input};
}
Tensors norm_by_aten(const Tensors& in) {
  return {kernels::modulated_norm_formula(in[0], in[1], in[2], 1e-6), in[0] * 1};
}

class CpuTokens : public EachTarget {};
INSTANTIATE_TEST_SUITE_P(All, CpuTokens, each_target(), name_of_target);

TEST_P(CpuTokens, TheNormAndItsGradientsAreAtens) {
  for_every_shape([](const Shape& s, torch::Dtype dtype) {
    const Tensors inputs{normal(1, {s.batch, s.tokens, s.channels}) * 3 + 0.5,
                         normal(2, {s.batch, s.channels}), normal(3, {s.batch, s.channels}) * 0.3};
    const Tensors d{normal(4, inputs[0].sizes()), normal(5, inputs[0].sizes())};
    expect_equal(norm_by_kernels, norm_by_aten, inputs, d, dtype);
  });
}

TEST_P(CpuTokens, TheGatedSumAndItsGradientsAreAtens) {
  for_every_shape([](const Shape& s, torch::Dtype dtype) {
    const std::vector<int64_t> sizes{s.batch, s.tokens, s.channels};
    const Tensors given{normal(1, sizes), normal(2, {s.batch, s.channels}), normal(3, sizes),
                        normal(4, {s.channels})};
    expect_equal(
        [](const Tensors& in) -> Tensors {
          return {kernels::gated_sum(in[0], in[1], in[2], in[3])};
        },
        [](const Tensors& in) -> Tensors {
          return {kernels::gated_sum_formula(in[0], in[1], in[2], in[3])};
        },
        given, {normal(5, sizes)}, dtype, 3);
  });
}

TEST_P(CpuTokens, GeluBehindItsBiasAndItsGradientsAreAtens) {
  for_every_shape([](const Shape& s, torch::Dtype dtype) {
    const std::vector<int64_t> sizes{s.batch, s.tokens, s.channels};
    expect_equal(
        [](const Tensors& in) -> Tensors { return {kernels::gelu_behind_bias(in[0], in[1])}; },
        [](const Tensors& in) -> Tensors {
          return {kernels::gelu_behind_bias_formula(in[0], in[1])};
        },
        {normal(1, sizes) * 2, normal(2, {s.channels})}, {normal(3, sizes)}, dtype, 1);
  });
}

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

TEST_P(CpuTokens, QueriesKeysAndValuesGoApartAndTheirGradientsTogether) {
  for_every_shape([](const Shape& s, torch::Dtype dtype) {
    const auto qkv = normal(1, {s.batch, s.tokens, 3 * s.channels}, dtype).requires_grad_();
    const auto bias = normal(2, {3 * s.channels}).requires_grad_();
    const auto parts = kernels::split_heads(qkv, bias, 4);
    const auto plain = qkv.detach().unflatten(2, {3, 4, -1}).permute({2, 0, 3, 1, 4});
    Tensors d;
    for (int64_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(torch::equal(parts[static_cast<size_t>(i)], plain[i]));
      d.push_back(normal(static_cast<uint64_t>(3 + i), plain[i].sizes(), dtype));
    }
    d[1] = d[1].transpose(2, 3).contiguous().transpose(2, 3);  // not dense along a head
    const auto gradients =
        torch::autograd::grad({parts[0], parts[1], parts[2]}, {qkv, bias}, {d[0], d[1], d[2]});
    const auto expected = torch::stack(d).permute({1, 3, 0, 2, 4}).flatten(2);
    EXPECT_TRUE(torch::equal(gradients[0], expected));
    EXPECT_LT(distance(gradients[1], expected.to(torch::kFloat64).flatten(0, 1).sum(0)), 2e-6);
  });
}

TEST_P(CpuTokens, AttentionOfPackedHeadsAndItsGradientsAreAtens) {
  if (!bf16_available()) GTEST_SKIP() << "this CPU does not multiply bfloat16";
  for (const Shape& s : {Shape{2, 1, 32}, {2, 17, 40}, {1, 33, 192}, {2, 196, 64}}) {
    SCOPED_TRACE(s.tokens);
    const auto qkv = normal(1, {s.batch, s.tokens, 3 * s.channels}, torch::kBFloat16);
    ASSERT_EQ(kernels::mixes_heads(qkv), has_fast_target());
    const Tensors given{qkv, normal(2, {3 * s.channels})};
    const Tensors in = inputs_for(given, torch::kBFloat16, 1);
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

// As a chunk of a longer row is: not dense.
TEST_P(CpuTokens, PartsOfLongerRowsModulate) {
  const auto x = normal(1, {4, 16, 36}), rows = normal(2, {4, 6 * 36});
  const auto parts = rows.chunk(6, 1);
  const auto y = kernels::modulated_norm(x, parts[1], parts[4], 1e-6).normed;
  EXPECT_LT(distance(y, kernels::modulated_norm_formula(x, parts[1], parts[4], 1e-6)), 2e-6);
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

TEST_P(CpuTokens, SecondDerivativesAreAtens) {
  const Tensors given{normal(1, {2, 8, 36}), normal(2, {2, 36}), normal(3, {2, 36}) * 0.3};
  const auto second = [&](const Map& map, torch::Dtype dtype) {
    const Tensors in = leaves(given, dtype);
    const Tensors y = map(in);
    const auto d_x =
        torch::autograd::grad({y[0].sin().sum() + (y[1] * y[1]).sum()}, {in[0]}, {}, true, true)[0];
    return torch::autograd::grad({d_x.square().sum()}, in);
  };
  const auto is = second(norm_by_kernels, torch::kFloat32),
             expected = second(norm_by_aten, torch::kFloat64);
  for (size_t i = 0; i < is.size(); ++i) EXPECT_LT(distance(is[i], expected[i]), 2e-5) << i;
}

// ---- The transformer.

ModelOptions options_of(const std::string& route, bool recompute = false) {
  ModelOptions options;
  options.type = "dit";
  options.dit = {.width = 36, .depth = 3, .heads = 3, .dropout = 0.2};
  options.dit.kernels = route;
  options.dit.recompute = recompute;
  return options;
}

std::shared_ptr<ScoreNetwork> transformer(const std::string& route, bool recompute = false) {
  auto network = make_model(options_of(route, recompute), {3, 10, 12});
  const torch::NoGradGuard no_grad;
  uint64_t step = 100;
  for (auto& p : network->parameters()) p.add_(normal(step++, p.sizes()) * 0.05);  // no zero layers
  return network;
}

// The gradients in all weights and in x, then the output. Dropout is part of it.
Tensors results_of(const std::shared_ptr<ScoreNetwork>& network, torch::Dtype dtype,
                   torch::Dtype compute) {
  network->to(dtype);
  const auto x = normal(8, {4, 3, 10, 12}, dtype).requires_grad_();
  const BatchSlots slots{{9, RandomStream::dropout, 7}, slot_range(0, 4)};
  torch::Tensor y;
  {
    const AutocastScope scope(compute);
    y = network->forward({x, torch::tensor({-3.0, 0.0, 4.0, 9.0}), {}, &slots});
  }
  auto inputs = network->parameters();
  inputs.push_back(x);
  auto out = torch::autograd::grad({y}, inputs, {normal(9, x.sizes(), dtype)});
  out.push_back(y.detach());
  return out;
}

double worst_distance(const Tensors& is, const Tensors& expected) {
  double worst = 0;
  for (size_t i = 0; i < is.size(); ++i) worst = std::max(worst, distance(is[i], expected[i]));
  return worst;
}

TEST(CpuTransformer, TheNetworkAndItsGradientsAreThoseOfAten) {
  const auto precise = results_of(transformer("aten"), torch::kFloat64, torch::kFloat32);
  for (const auto compute : {torch::kFloat32, torch::kBFloat16}) {
    const auto is = results_of(transformer("auto"), torch::kFloat32, compute),
               aten = results_of(transformer("aten"), torch::kFloat32, compute);
    const double own = worst_distance(is, precise), of_aten = worst_distance(aten, precise);
    EXPECT_LT(own, compute == torch::kFloat32 ? 1e-5 : 1.5 * of_aten);
  }
}

TEST(CpuTransformer, RecomputedItHasTheSameBits) {
  for (const auto compute : {torch::kFloat32, torch::kBFloat16}) {
    const auto kept = results_of(transformer("auto"), torch::kFloat32, compute),
               again = results_of(transformer("auto", true), torch::kFloat32, compute);
    for (size_t i = 0; i < kept.size(); ++i) EXPECT_TRUE(torch::equal(kept[i], again[i])) << i;
  }
}

// What a likelihood by expansion asks for.
TEST(CpuTransformer, HasSecondDerivatives) {
  const auto second = [](const std::string& route, torch::Dtype dtype) {
    const auto network = transformer(route);
    network->to(dtype);
    const auto x = normal(8, {2, 3, 10, 12}, dtype).requires_grad_();
    const auto y = network->forward({x, torch::tensor({-3.0, 1.0}), {}, nullptr});
    const auto d_x = torch::autograd::grad({y.square().sum()}, {x}, {}, true, true)[0];
    return torch::autograd::grad({d_x.square().sum()}, {x})[0];
  };
  EXPECT_LT(distance(second("auto", torch::kFloat32), second("aten", torch::kFloat64)), 1e-4);
}

TEST(CpuTransformer, TakesTheRouteWhereItMay) {
  DiTBlock block(options_of("auto").dit, 0), plain(options_of("aten").dit, 0);
  const auto x = torch::zeros({1, 4, 36});
  EXPECT_EQ(block->has_own_kernels(x), has_fast_target());
  EXPECT_FALSE(plain->has_own_kernels(x));
  EXPECT_FALSE(block->has_own_kernels(x.to(torch::kFloat64)));
  // Operations are counted by ATen's own.
  const auto network = transformer("auto"), by_aten = transformer("aten");
  EXPECT_EQ(forward_flops(*network, {3, 10, 12}), forward_flops(*by_aten, {3, 10, 12}));
}

}  // namespace
}  // namespace scorenet::models::cpu
