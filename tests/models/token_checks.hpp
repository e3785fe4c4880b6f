// What the tests of the transformer's kernels on CPUs and on GPUs have in common: numbers, the
// comparison with ATen's operations in float64, and the checks that hold on every device.
#pragma once

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "models/autocast.hpp"
#include "models/kernels/tokens.hpp"
#include "models/make_model.hpp"
#include "models/score_network.hpp"
#include "tests/support/noise.hpp"

namespace scorenet::test {

using Tensors = std::vector<torch::Tensor>;
using Map = std::function<Tensors(const Tensors&)>;

struct TokenShape {
  int64_t batch, tokens, channels;
};

/// A device's kernels: what they are checked with, and how exact they are.
struct TokenRoute {
  torch::Device device;
  std::vector<torch::Dtype> dtypes;
  std::vector<TokenShape> shapes;
  int64_t channels;                             // of the checks that take one size
  double (*tolerance)(torch::Dtype);            // of results and gradients
  double (*gate_bias_tolerance)(torch::Dtype);  // of a bias's gradient, a sum over tokens
  double (*gelu_bias_tolerance)(torch::Dtype);
  double float_tolerance;   // of float32 where no type is given
  double second_tolerance;  // of second derivatives
};

/// Standard normal numbers that depend on `step` alone.
inline torch::Tensor normal(uint64_t step, c10::IntArrayRef shape,
                            torch::Dtype dtype = torch::kFloat32,
                            torch::Device device = torch::kCPU) {
  return noise(step, 1, shape)[0].to(device, dtype);
}

/// The greatest difference, over the size of what is expected.
inline double distance(const torch::Tensor& is, const torch::Tensor& expected) {
  const auto precise = expected.to(torch::kFloat64);
  return ((is.to(torch::kFloat64) - precise).abs().max() / (precise.abs().max() + 0.1))
      .item<double>();
}

inline double worst_distance(const Tensors& is, const Tensors& expected) {
  double worst = 0;
  for (size_t i = 0; i < is.size(); ++i) worst = std::max(worst, distance(is[i], expected[i]));
  return worst;
}

/// Copies in another type, whose gradients can be asked for.
inline Tensors leaves(const Tensors& given, torch::Dtype dtype) {
  Tensors all;
  for (const auto& t : given) all.push_back(t.detach().to(dtype).requires_grad_());
  return all;
}

/// The results, then the gradients in every input.
inline Tensors with_gradients(const Map& map, const Tensors& inputs, const Tensors& d_results) {
  Tensors out = map(inputs), d;
  for (const auto& t : d_results) d.push_back(t.to(out[0].scalar_type()));
  const Tensors gradients = torch::autograd::grad(out, inputs, d);
  for (auto& t : out) t = t.detach();
  out.insert(out.end(), gradients.begin(), gradients.end());
  return out;
}

/// A kernel's results and gradients are those of the formula in float64 on the same numbers. Input
/// `bias`, if there is one, stays float32, and its gradient has a tolerance of its own.
inline void expect_equals_formula(const TokenRoute& route, torch::Dtype dtype, const Map& kernel,
                                  const Map& formula, const Tensors& given,
                                  const Tensors& d_results, int bias = -1,
                                  double bias_tolerance = 0) {
  Tensors in = leaves(given, dtype);
  if (bias >= 0) {
    const auto at = static_cast<size_t>(bias);
    in[at] = given[at].detach().to(torch::kFloat32).requires_grad_();
  }
  const Tensors is = with_gradients(kernel, in, d_results),
                expected = with_gradients(formula, leaves(in, torch::kFloat64),
                                          leaves(leaves(d_results, dtype), torch::kFloat64));
  const size_t results = is.size() - in.size();
  for (size_t i = 0; i < is.size(); ++i) {
    const bool of_bias = bias >= 0 && i == results + static_cast<size_t>(bias);
    EXPECT_EQ(is[i].scalar_type(), of_bias ? torch::kFloat32 : dtype) << i;
    EXPECT_LT(distance(is[i], expected[i]), of_bias ? bias_tolerance : route.tolerance(dtype)) << i;
  }
}

inline void for_every_shape(const TokenRoute& route,
                            const std::function<void(const TokenShape&, torch::Dtype)>& check) {
  for (const auto dtype : route.dtypes) {
    for (const TokenShape& shape : route.shapes) {
      SCOPED_TRACE(std::to_string(shape.batch) + " x " + std::to_string(shape.tokens) + " x " +
                   std::to_string(shape.channels) + " " + c10::toString(dtype));
      check(shape, dtype);
    }
  }
}

/// Two results: the norm, and x, whose own gradient joins.
inline Tensors norm_by_kernels(const Tensors& in) {
  const auto out = models::kernels::modulated_norm(in[0], in[1], in[2], 1e-6);
  return {out.normed, out.input};
}
inline Tensors norm_by_aten(const Tensors& in) {
  return {models::kernels::modulated_norm_formula(in[0], in[1], in[2], 1e-6), in[0] * 1};
}

inline void check_norm(const TokenRoute& route) {
  for_every_shape(route, [&](const TokenShape& s, torch::Dtype dtype) {
    const auto numbers = [&](uint64_t step, c10::IntArrayRef shape) {
      return normal(step, shape, torch::kFloat32, route.device);
    };
    const std::vector<int64_t> sizes{s.batch, s.tokens, s.channels};
    const Tensors inputs{numbers(1, sizes) * 3 + 0.5, numbers(2, {s.batch, s.channels}),
                         numbers(3, {s.batch, s.channels}) * 0.3};
    expect_equals_formula(route, dtype, norm_by_kernels, norm_by_aten, inputs,
                          {numbers(4, sizes), numbers(5, sizes)});
  });
}

inline void check_gated_sum(const TokenRoute& route) {
  for_every_shape(route, [&](const TokenShape& s, torch::Dtype dtype) {
    const auto numbers = [&](uint64_t step, c10::IntArrayRef shape) {
      return normal(step, shape, torch::kFloat32, route.device);
    };
    const std::vector<int64_t> sizes{s.batch, s.tokens, s.channels};
    const Tensors given{numbers(1, sizes), numbers(2, {s.batch, s.channels}), numbers(3, sizes),
                        numbers(4, {s.channels})};
    const auto by = [](auto sum) {
      return [sum](const Tensors& in) -> Tensors { return {sum(in[0], in[1], in[2], in[3])}; };
    };
    expect_equals_formula(route, dtype, by(models::kernels::gated_sum),
                          by(models::kernels::gated_sum_formula), given, {numbers(5, sizes)},
                          /*bias=*/3, route.gate_bias_tolerance(dtype));
  });
}

inline void check_gelu(const TokenRoute& route) {
  for_every_shape(route, [&](const TokenShape& s, torch::Dtype dtype) {
    const auto numbers = [&](uint64_t step, c10::IntArrayRef shape) {
      return normal(step, shape, torch::kFloat32, route.device);
    };
    const std::vector<int64_t> sizes{s.batch, s.tokens, s.channels};
    const auto by = [](auto gelu) {
      return [gelu](const Tensors& in) -> Tensors { return {gelu(in[0], in[1])}; };
    };
    expect_equals_formula(route, dtype, by(models::kernels::gelu_behind_bias),
                          by(models::kernels::gelu_behind_bias_formula),
                          {numbers(1, sizes) * 2, numbers(2, {s.channels})}, {numbers(3, sizes)},
                          /*bias=*/1, route.gelu_bias_tolerance(dtype));
  });
}

/// Attention's inputs have the bits of qkv, and their gradients go back to where they came from.
inline void check_heads(const TokenRoute& route) {
  for_every_shape(route, [&](const TokenShape& s, torch::Dtype dtype) {
    const auto numbers = [&](uint64_t step, c10::IntArrayRef shape, torch::Dtype type) {
      return normal(step, shape, type, route.device);
    };
    const auto qkv = numbers(1, {s.batch, s.tokens, 3 * s.channels}, dtype).requires_grad_();
    const auto bias = numbers(2, {3 * s.channels}, torch::kFloat32).requires_grad_();
    const auto parts = models::kernels::split_heads(qkv, bias, 4);
    const auto plain = qkv.detach().unflatten(2, {3, 4, -1}).permute({2, 0, 3, 1, 4});
    Tensors d;
    for (int64_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(torch::equal(parts[static_cast<size_t>(i)], plain[i]));
      d.push_back(numbers(static_cast<uint64_t>(3 + i), plain[i].sizes(), dtype));
    }
    d[1] = d[1].transpose(2, 3).contiguous().transpose(2, 3);  // not dense along a head
    const auto gradients =
        torch::autograd::grad({parts[0], parts[1], parts[2]}, {qkv, bias}, {d[0], d[1], d[2]});
    const auto expected = torch::stack(d).permute({1, 3, 0, 2, 4}).flatten(2);
    EXPECT_TRUE(torch::equal(gradients[0], expected));
    EXPECT_LT(distance(gradients[1], expected.to(torch::kFloat64).flatten(0, 1).sum(0)),
              route.float_tolerance);
  });
}

/// Shift and scale as chunks of a longer row: not dense.
inline void check_parts_of_rows(const TokenRoute& route) {
  const auto x = normal(1, {4, 16, route.channels}, torch::kFloat32, route.device),
             rows = normal(2, {4, 6 * route.channels}, torch::kFloat32, route.device);
  const auto parts = rows.chunk(6, 1);
  const auto y = models::kernels::modulated_norm(x, parts[1], parts[4], 1e-6).normed;
  EXPECT_LT(distance(y, models::kernels::modulated_norm_formula(x, parts[1], parts[4], 1e-6)),
            route.float_tolerance);
}

inline void check_second_derivatives(const TokenRoute& route) {
  const auto numbers = [&](uint64_t step, c10::IntArrayRef shape) {
    return normal(step, shape, torch::kFloat32, route.device);
  };
  const Tensors given{numbers(1, {2, 8, route.channels}), numbers(2, {2, route.channels}),
                      numbers(3, {2, route.channels}) * 0.3};
  const auto second = [&](const Map& map, torch::Dtype dtype) {
    const Tensors in = leaves(given, dtype);
    const Tensors y = map(in);
    const auto d_x =
        torch::autograd::grad({y[0].sin().sum() + (y[1] * y[1]).sum()}, {in[0]}, {}, true, true)[0];
    return torch::autograd::grad({d_x.square().sum()}, in);
  };
  const Tensors is = second(norm_by_kernels, torch::kFloat32),
                expected = second(norm_by_aten, torch::kFloat64);
  for (size_t i = 0; i < is.size(); ++i)
    EXPECT_LT(distance(is[i], expected[i]), route.second_tolerance) << i;
}

// ---- A whole transformer.

struct TransformerCase {
  models::DiTOptions dit;
  std::vector<int64_t> shape;  // of an example
  torch::Device device;
};

/// Of three blocks, without the layers of zeros that a new network has.
inline std::shared_ptr<models::ScoreNetwork> transformer(const TransformerCase& with,
                                                         const std::string& kernels,
                                                         bool recompute = false) {
  models::ModelOptions options;
  options.type = "dit";
  options.dit = with.dit;
  options.dit.kernels = kernels;
  options.dit.recompute = recompute;
  auto network = models::make_model(options, with.shape);
  const torch::NoGradGuard no_grad;
  uint64_t step = 100;
  for (auto& p : network->parameters()) p.add_(normal(step++, p.sizes()) * 0.05);
  return network;
}

/// The gradients in all weights and in x, then the output, with dropout where the case has it.
inline Tensors results_of(const TransformerCase& with,
                          const std::shared_ptr<models::ScoreNetwork>& network, torch::Dtype dtype,
                          torch::Dtype compute) {
  network->to(with.device, dtype);
  std::vector<int64_t> batch{4};
  batch.insert(batch.end(), with.shape.begin(), with.shape.end());
  const auto x = normal(8, batch, dtype, with.device).requires_grad_();
  const models::BatchSlots slots{{9, RandomStream::dropout, 7}, slot_range(0, 4)};
  const auto log_snr = torch::tensor({-3.0, 0.0, 4.0, 9.0}).to(with.device);
  torch::Tensor y;
  {
    const models::AutocastScope scope(compute, with.device.type());
    y = network->forward({x, log_snr, {}, with.dit.dropout > 0 ? &slots : nullptr});
  }
  auto inputs = network->parameters();
  inputs.push_back(x);
  auto out = torch::autograd::grad({y}, inputs, {normal(9, batch, dtype, with.device)});
  out.push_back(y.detach());
  return out;
}

/// Recomputing changes no bit.
inline void check_recomputed(const TransformerCase& with, torch::Dtype compute) {
  const Tensors kept = results_of(with, transformer(with, "auto"), torch::kFloat32, compute),
                again = results_of(with, transformer(with, "auto", true), torch::kFloat32, compute);
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_TRUE(torch::equal(kept[i], again[i])) << i;
}

struct TransformerDistances {
  double own, aten;  // from ATen in float64
};

/// How far the network and its gradients are from ATen's in float64, by our kernels and by ATen's.
inline TransformerDistances distances_of(const TransformerCase& with, torch::Dtype compute) {
  const Tensors precise =
      results_of(with, transformer(with, "aten"), torch::kFloat64, torch::kFloat32);
  const auto by = [&](const char* kernels) {
    return worst_distance(results_of(with, transformer(with, kernels), torch::kFloat32, compute),
                          precise);
  };
  return {by("auto"), by("aten")};
}

}  // namespace scorenet::test
