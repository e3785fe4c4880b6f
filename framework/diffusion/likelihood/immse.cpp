#include "framework/diffusion/likelihood/immse.hpp"

#include <cmath>
#include <numbers>

#include "framework/core/check.hpp"
#include "framework/diffusion/likelihood/probability_flow.hpp"

namespace scorenet::diffusion {
namespace {

// log(1 + e^x) without overflow.
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

LikelihoodResult with_reference(const Schedule& schedule, const torch::Tensor& x0,
                                const IntegratedTerm& diffusion) {
  const auto half_dims = static_cast<double>(dims_per_example(x0)) / 2;
  const LogSnrRange range = log_snr_range(schedule);
  const double reference = half_dims * (std::log(2 * std::numbers::pi * std::numbers::e) -
                                        softplus(range.clean) + softplus(range.noisy));
  LikelihoodResult result;
  result.kind = ResultKind::estimate;
  result.nats = reference + diffusion.nats;
  result.terms = {{"reference", torch::full_like(diffusion.nats, reference)},
                  {"diffusion", diffusion.nats}};
  result.nfe = diffusion.nfe;
  return result;
}

}  // namespace

LikelihoodResult immse(const Denoiser& denoiser, const Schedule& schedule, const torch::Tensor& x0,
                       const std::vector<int64_t>& slots, const DrawOptions& options) {
  return with_reference(schedule, x0, drawn_diffusion_term(denoiser, schedule, x0, slots, options));
}

LikelihoodResult immse_exact(const Denoiser& denoiser, const Schedule& schedule,
                             const torch::Tensor& x0) {
  return with_reference(schedule, x0, exact_diffusion_term(denoiser, schedule, x0));
}

}  // namespace scorenet::diffusion
