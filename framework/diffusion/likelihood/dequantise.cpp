#include "framework/diffusion/likelihood/dequantise.hpp"

#include <cmath>
#include <numbers>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/likelihood/units.hpp"
#include "framework/diffusion/parametrisation.hpp"
#include "framework/diffusion/variational_bound.hpp"

namespace scorenet::diffusion {
namespace {

torch::Tensor uniforms(const torch::Tensor& x0, const std::vector<int64_t>& slots, uint64_t seed,
                       int64_t index) {
  const RandomKey key{seed, RandomStream::dequantisation, static_cast<uint64_t>(index)};
  return uniform_for_slots(key, slots, x0.sizes().slice(1), torch::kFloat64, x0.device());
}

struct TruncatedNormal {
  double alpha;
  double sigma;
  double tau;   // half a bin in units of the noise
  double mass;  // of N(0, 1) in [-tau, tau]
};

TruncatedNormal truncated_normal_at(const Schedule& schedule, int64_t levels) {
  const NoiseLevel level = schedule.at(schedule.t_min(), 1);
  const double alpha = level.alpha.item<double>();
  const double sigma = level.sigma.item<double>();
  const double tau = alpha * 0.5 * bin_width(levels) / sigma;
  return {alpha, sigma, tau, std::erf(tau / std::numbers::sqrt2)};
}

}  // namespace

Dequantised dequantise_uniform(const torch::Tensor& x0, const std::vector<int64_t>& slots,
                               uint64_t seed, int64_t index, int64_t levels) {
  check_on_pixel_levels(x0, levels);
  const auto u = uniforms(x0, slots, seed, index);
  const auto y = x0.to(torch::kFloat64) + bin_width(levels) * (u - 0.5);
  const double log_q = uniform_dequantisation_offset_nats(dims_per_example(x0), bin_width(levels));
  return {y.to(x0.scalar_type()), torch::full({x0.size(0)}, log_q, torch::kFloat64)};
}

Dequantised dequantise_truncated_normal(const torch::Tensor& x0, const Schedule& schedule,
                                        const std::vector<int64_t>& slots, uint64_t seed,
                                        int64_t index, int64_t levels) {
  check_on_pixel_levels(x0, levels);
  const TruncatedNormal law = truncated_normal_at(schedule, levels);
  // Inverse of the cut distribution function about its middle: mass (u - 1/2) + 1/2 is in (0, 1).
  const auto u = uniforms(x0, slots, seed, index);
  const auto e = torch::special_ndtri(0.5 + law.mass * (u - 0.5)).clamp(-law.tau, law.tau);
  const auto y = law.alpha * x0.to(torch::kFloat64) + law.sigma * e;
  const double log_norm =
      0.5 * std::log(2.0 * std::numbers::pi * law.sigma * law.sigma) + std::log(law.mass);
  const auto log_q = -sum_per_example(0.5 * e.square() + log_norm);
  return {y.to(x0.scalar_type()), log_q};
}

// -log p(k given y) is the discrete decoder's reconstruction at this very y.
Dequantised dequantise_variational(const torch::Tensor& x0, const Schedule& schedule,
                                   const std::vector<int64_t>& slots, uint64_t seed, int64_t index,
                                   int64_t levels) {
  check_on_pixel_levels(x0, levels);
  const RandomKey key{seed, RandomStream::dequantisation, static_cast<uint64_t>(index)};
  const auto e = normal_for_slots(key, slots, x0.sizes().slice(1), torch::kFloat64, x0.device());
  const NoiseLevel level = schedule.at(schedule.t_min(), x0.size(0));
  const auto centres = x0.to(torch::kFloat64);
  const auto log_density = -sum_per_example(0.5 * e.square()) -
                           static_cast<double>(dims_per_example(x0)) *
                               (0.5 * std::log(2.0 * std::numbers::pi) + level.sigma.log());
  return {add_noise(centres, e, level).to(x0.scalar_type()),
          log_density + discrete_reconstruction_nats(centres, e, level.log_snr[0], levels)};
}

double truncated_normal_entropy_nats(const Schedule& schedule, int64_t dims, int64_t levels) {
  const TruncatedNormal law = truncated_normal_at(schedule, levels);
  const double cut =
      law.tau * std::exp(-0.5 * law.tau * law.tau) / (std::sqrt(2.0 * std::numbers::pi) * law.mass);
  const double full = 0.5 * (1.0 + std::log(2.0 * std::numbers::pi * law.sigma * law.sigma));
  return static_cast<double>(dims) * (full + std::log(law.mass) - cut);
}

torch::Tensor importance_weighted_nats(const torch::Tensor& nats, const torch::Tensor& log_q) {
  check_same_shape(nats, log_q, "importance weights: -log p and log q");
  return std::log(static_cast<double>(nats.size(0))) - torch::logsumexp(-nats - log_q, 0);
}

}  // namespace scorenet::diffusion
