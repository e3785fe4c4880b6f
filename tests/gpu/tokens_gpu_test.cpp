// The transformer's kernels against ATen in float64, and a DiT that is made of them against one
// that is made of ATen's operations. Skips, and says so, where there is no device.
#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/cuda.h>

#include <cstdio>

#include "models/autocast.hpp"
#include "models/kernels/tokens.hpp"
#include "models/make_model.hpp"
#include "models/score_network.hpp"

namespace scorenet::models {
namespace {

const torch::Device kGpu(torch::kCUDA, 0);

using Tensors = std::vector<torch::Tensor>;

torch::Tensor normal(c10::IntArrayRef shape, torch::Dtype dtype = torch::kFloat32) {
  return torch::randn(shape, torch::dtype(torch::kFloat32).device(kGpu)).to(dtype);
}

// Greatest difference over the size of what is expected.
double distance(const torch::Tensor& is, const torch::Tensor& expected) {
  const auto precise = expected.to(torch::kFloat64);
  return ((is.to(torch::kFloat64) - precise).abs().max() / (precise.abs().max() + 0.1))
      .item<double>();
}

double tolerance(torch::Dtype dtype) {
  return dtype == torch::kBFloat16 ? 8e-3 : dtype == torch::kFloat16 ? 2e-3 : 1e-5;
}

Tensors leaves(const Tensors& given, torch::Dtype dtype) {
  Tensors all;
  for (const auto& t : given) all.push_back(t.detach().to(dtype).requires_grad_());
  return all;
}

using Map = std::function<Tensors(const Tensors&)>;

// The results, then the gradients in every input.
Tensors with_gradients(const Map& map, const Tensors& inputs, const Tensors& d_results) {
  Tensors out = map(inputs);
  Tensors d;
  for (const auto& t : d_results) d.push_back(t.to(out[0].scalar_type()));
  const auto gradients = torch::autograd::grad(out, inputs, d);
  for (auto& t : out) t = t.detach();
  out.insert(out.end(), gradients.begin(), gradients.end());
  return out;
}

struct Shape {
  int64_t batch, tokens, channels;
};

class TokensGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (torch::cuda::is_available() && kernels::has_token_route(torch::empty({1, 4, 64}, kGpu))) {
      torch::manual_seed(1);
      at::globalContext().setAllowTF32CuDNN(false);
      return;
    }
    std::printf("skipped: no GPU for each rank (no CUDA device here, or a build without nvcc)\n");
    GTEST_SKIP();
  }

  // is and formula on the same numbers, the formula in float64.
  static void expect_equal(const Map& is, const Map& formula, const Tensors& inputs,
                           const Tensors& d_results, torch::Dtype dtype) {
    const Tensors a = with_gradients(is, leaves(inputs, dtype), d_results),
                  b = with_gradients(formula, leaves(leaves(inputs, dtype), torch::kFloat64),
                                     leaves(d_results, torch::kFloat64));
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].scalar_type(), dtype) << i;
      EXPECT_LT(distance(a[i], b[i]), tolerance(dtype)) << i;
    }
  }

  static void for_every_shape(const std::function<void(const Shape&, torch::Dtype)>& test) {
    for (const auto dtype : {torch::kFloat32, torch::kBFloat16, torch::kFloat16}) {
      for (const Shape& shape : {Shape{3, 1, 64},
                                 {2, 5, 8},
                                 {2, 256, 384},
                                 {1, 1024, 192},
                                 {5, 64, 768},
                                 {2, 17, 1000}}) {
        SCOPED_TRACE(std::to_string(shape.batch) + " x " + std::to_string(shape.tokens) + " x " +
                     std::to_string(shape.channels) + " " + c10::toString(dtype));
        test(shape, dtype);
      }
    }
  }
};

// Two results: the norm, and x, whose own gradient joins.
Map norm_by_kernels() {
  return [](const Tensors& in) -> Tensors {
    const auto out = kernels::modulated_norm(in[0], in[1], in[2], 1e-6);
    return {out.normed, out.input};
  };
}
Map norm_by_aten() {
  return [](const Tensors& in) -> Tensors {
    return {kernels::modulated_norm_formula(in[0], in[1], in[2], 1e-6), in[0] * 1};
  };
}

TEST_F(TokensGpu, TheNormAndItsGradientsAreAtens) {
  for_every_shape([](const Shape& s, torch::Dtype dtype) {
    const Tensors inputs{normal({s.batch, s.tokens, s.channels}) * 3 + 0.5,
                         normal({s.batch, s.channels}), normal({s.batch, s.channels}) * 0.3};
    const Tensors d{normal(inputs[0].sizes()), normal(inputs[0].sizes())};
    expect_equal(norm_by_kernels(), norm_by_aten(), inputs, d, dtype);
  });
}

// Gradients of map(h, bias, more...) and its result. The bias is float32, or as the rest float64.
Tensors with_bias(const std::function<torch::Tensor(const Tensors&)>& map, const Tensors& given,
                  torch::Dtype dtype, torch::Dtype of_bias, const torch::Tensor& d_y) {
  Tensors in = leaves(given, dtype);
  in[1] = given[1].detach().to(of_bias).requires_grad_();
  const auto y = map(in);
  auto out = torch::autograd::grad({y}, in, {d_y.to(y.scalar_type())});
  out.push_back(y.detach());
  return out;
}

TEST_F(TokensGpu, TheGatedSumAndItsGradientsAreAtens) {
  for_every_shape([](const Shape& s, torch::Dtype dtype) {
    const std::vector<int64_t> sizes{s.batch, s.tokens, s.channels};
    const Tensors given{normal(sizes, dtype), normal({s.channels}), normal(sizes, dtype),
                        normal({s.batch, s.channels}, dtype)};
    const auto d_y = normal(sizes, dtype);
    const auto is =
        with_bias([](const Tensors& in) { return kernels::gated_sum(in[2], in[3], in[0], in[1]); },
                  given, dtype, torch::kFloat32, d_y);
    const auto expected = with_bias(
        [](const Tensors& in) { return kernels::gated_sum_formula(in[2], in[3], in[0], in[1]); },
        given, torch::kFloat64, torch::kFloat64, d_y);
    for (size_t i = 0; i < is.size(); ++i)
      EXPECT_LT(distance(is[i], expected[i]), i == 1 ? 1e-4 : tolerance(dtype)) << i;
  });
}

// What attention's inputs are made of, and the gradient that comes back through them.
TEST_F(TokensGpu, QueriesKeysAndValuesGoApartAndTheirGradientsTogether) {
  for_every_shape([](const Shape& s, torch::Dtype dtype) {
    const auto qkv = normal({s.batch, s.tokens, 3 * s.channels}, dtype).requires_grad_();
    const auto bias = normal({3 * s.channels}).requires_grad_();
    const auto parts = kernels::split_heads(qkv, bias, 4);
    const auto plain = qkv.detach().unflatten(2, {3, 4, -1}).permute({2, 0, 3, 1, 4});
    Tensors d;
    for (int64_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(torch::equal(parts[static_cast<size_t>(i)], plain[i]));
      d.push_back(normal(plain[i].sizes(), dtype));
    }
    const auto gradients =
        torch::autograd::grad({parts[0], parts[1], parts[2]}, {qkv, bias}, {d[0], d[1], d[2]});
    const auto expected = torch::stack(d).permute({1, 3, 0, 2, 4}).flatten(2);
    EXPECT_TRUE(torch::equal(gradients[0], expected));
    EXPECT_LT(distance(gradients[1], expected.to(torch::kFloat64).flatten(0, 1).sum(0)), 1e-5);
  });
}

TEST_F(TokensGpu, GeluBehindItsBiasAndItsGradientsAreAtens) {
  for_every_shape([](const Shape& s, torch::Dtype dtype) {
    const Tensors given{normal({s.batch, s.tokens, s.channels}, dtype), normal({s.channels})};
    const auto d_y = normal(given[0].sizes(), dtype);
    const auto is =
        with_bias([](const Tensors& in) { return kernels::gelu_behind_bias(in[0], in[1]); }, given,
                  dtype, torch::kFloat32, d_y);
    const auto expected =
        with_bias([](const Tensors& in) { return kernels::gelu_behind_bias_formula(in[0], in[1]); },
                  given, torch::kFloat64, torch::kFloat64, d_y);
    for (size_t i = 0; i < is.size(); ++i)
      EXPECT_LT(distance(is[i], expected[i]), i == 1 ? 1e-5 : tolerance(dtype)) << i;
  });
}

// As a chunk of a longer row is: not dense.
TEST_F(TokensGpu, PartsOfLongerRowsModulate) {
  const auto x = normal({4, 16, 96}), rows = normal({4, 6 * 96});
  const auto parts = rows.chunk(6, 1);
  const auto y = kernels::modulated_norm(x, parts[1], parts[4], 1e-6).normed;
  EXPECT_LT(distance(y, kernels::modulated_norm_formula(x, parts[1], parts[4], 1e-6)), 1e-5);
}

TEST_F(TokensGpu, SecondDerivativesAreAtens) {
  const Tensors given{normal({2, 8, 64}), normal({2, 64}), normal({2, 64}) * 0.3};
  const auto second = [&](const Map& map, torch::Dtype dtype) {
    const Tensors in = leaves(given, dtype);
    const Tensors y = map(in);
    const auto d_x =
        torch::autograd::grad({y[0].sin().sum() + (y[1] * y[1]).sum()}, {in[0]}, {}, true, true)[0];
    return torch::autograd::grad({d_x.square().sum()}, in);
  };
  const auto is = second(norm_by_kernels(), torch::kFloat32),
             expected = second(norm_by_aten(), torch::kFloat64);
  for (size_t i = 0; i < is.size(); ++i) EXPECT_LT(distance(is[i], expected[i]), 5e-5) << i;
}

// ---- The transformer.

std::shared_ptr<ScoreNetwork> transformer(const std::string& route, bool recompute = false) {
  ModelOptions options;
  options.type = "dit";
  options.dit.depth = 3;
  options.dit.kernels = route;
  options.dit.recompute = recompute;
  auto network = make_model(options, {3, 16, 16});
  torch::manual_seed(2);
  const torch::NoGradGuard no_grad;
  for (auto& p : network->parameters()) p.add_(torch::randn(p.sizes()) * 0.05);  // no zero layers
  return network;
}

// The gradients in all weights and in x, then the output.
Tensors results_of(const std::shared_ptr<ScoreNetwork>& network, torch::Dtype dtype,
                   torch::Dtype compute) {
  network->to(kGpu, dtype);
  torch::manual_seed(3);
  const auto x = normal({4, 3, 16, 16}).to(dtype).requires_grad_(), d_y = normal({4, 3, 16, 16});
  torch::Tensor y;
  {
    const AutocastScope scope(compute, torch::kCUDA);
    y = network->forward({x, torch::tensor({-3.0, 0.0, 4.0, 9.0}).to(kGpu), {}, nullptr});
  }
  auto inputs = network->parameters();
  inputs.push_back(x);
  auto out = torch::autograd::grad({y}, inputs, {d_y.to(dtype)});
  out.push_back(y.detach());
  return out;
}

double worst_distance(const Tensors& is, const Tensors& expected) {
  double worst = 0;
  for (size_t i = 0; i < is.size(); ++i) worst = std::max(worst, distance(is[i], expected[i]));
  return worst;
}

TEST_F(TokensGpu, TheNetworkAndItsGradientsAreThoseOfAten) {
  const auto precise = results_of(transformer("aten"), torch::kFloat64, torch::kFloat32);
  for (const auto compute : {torch::kFloat32, torch::kBFloat16}) {
    const auto is = results_of(transformer("auto"), torch::kFloat32, compute),
               aten = results_of(transformer("aten"), torch::kFloat32, compute);
    const double own = worst_distance(is, precise), of_aten = worst_distance(aten, precise);
    std::printf("%s, greatest distance: %g, ATen's %g\n", c10::toString(compute), own, of_aten);
    EXPECT_LT(own, std::max(compute == torch::kFloat32 ? 1e-4 : 0.03, 2 * of_aten));
  }
}

TEST_F(TokensGpu, RecomputedItHasTheSameBits) {
  const auto kept = results_of(transformer("auto"), torch::kFloat32, torch::kBFloat16),
             again = results_of(transformer("auto", true), torch::kFloat32, torch::kBFloat16);
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_TRUE(torch::equal(kept[i], again[i])) << i;
}

}  // namespace
}  // namespace scorenet::models
