#include "framework/diffusion/likelihood/quadrature.hpp"

#include <torch/utils.h>

#include <cmath>

#include "framework/core/random.hpp"

namespace scorenet::diffusion {

namespace {

constexpr int64_t kChords = 32;

// Fixed draws of example evaluation, apart from every evaluator's own: (n, dims).
torch::Tensor fixed_normals(uint64_t index, int64_t n, int64_t dims) {
  const RandomKey key{0x6578616374, RandomStream::evaluation_noise, index};
  return normal_for_slots(key, slot_range(0, n), {dims}, torch::kFloat64);
}

}  // namespace

NoiseRule noise_lattice(int64_t dims, double spacing) {
  // exp(-x^2 / 2) = 1e-16 at x = 8.584.
  const auto reach = static_cast<int64_t>(std::ceil(8.584 / spacing));
  auto index = torch::arange(-reach, reach + 1, torch::kInt64).unsqueeze(1);
  if (dims == 2) {
    const auto n = index.size(0);
    index = torch::stack({index.expand({n, n}), index.t().expand({n, n})}, -1).reshape({n * n, 2});
  }
  const auto density = (-0.5 * (spacing * index.to(torch::kFloat64)).square().sum(1)).exp();
  const auto kept = density.gt(1e-16).nonzero().squeeze(1);
  const auto nodes = index.index_select(0, kept);
  const auto weights = density.index_select(0, kept);
  const auto even = weights * nodes.remainder(2).eq(0).all(1).to(torch::kFloat64);
  return {spacing * nodes.to(torch::kFloat64), weights / weights.sum(), even / even.sum(), true};
}

NoiseRule paired_cubature(int64_t dims) {
  const double radius = std::sqrt(static_cast<double>(dims));
  const auto axes = radius * torch::eye(dims, torch::kFloat64);
  const auto turned = radius * std::get<0>(torch::linalg_qr(fixed_normals(0, dims, dims)));
  const auto weights = torch::full({2 * dims}, 0.5 / static_cast<double>(dims), torch::kFloat64);
  const auto none = torch::zeros_like(weights);
  return {torch::cat({axes, -axes, turned, -turned}), torch::cat({weights, none}),
          torch::cat({none, weights}), false};
}

NoiseChords noise_chords(int64_t dims) {
  const auto reach = torch::cat({torch::ones({kChords / 2, 1}, torch::kFloat64),
                                 torch::full({kChords / 2, 1}, 2, torch::kFloat64)});
  const auto a = reach * fixed_normals(1, kChords, dims);
  const auto b = reach * fixed_normals(2, kChords, dims);
  return {a, b, 0.5 * (a + b)};
}

}  // namespace scorenet::diffusion
