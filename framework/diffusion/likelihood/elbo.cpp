#include "framework/diffusion/likelihood/elbo.hpp"

#include <torch/utils.h>

#include <cmath>
#include <numbers>
#include <tuple>

#include "framework/core/check.hpp"
#include "framework/diffusion/likelihood/units.hpp"

namespace scorenet::diffusion {
namespace {

LikelihoodResult bound_of(const Schedule& schedule, const torch::Tensor& x0,
                          const IntegratedTerm& diffusion, const torch::Tensor& reconstruction) {
  const BoundTerms terms{prior_nats(schedule, x0).to(torch::kCPU), diffusion.nats,
                         reconstruction.to(torch::kCPU)};
  LikelihoodResult result;
  result.kind = ResultKind::bound;
  result.nats = terms.total();
  result.terms = {{"prior", terms.prior_nats},
                  {"diffusion", terms.diffusion_nats},
                  {"reconstruction", terms.reconstruction_nats}};
  result.nfe = diffusion.nfe;
  return result;
}

torch::Tensor drawn_reconstruction(const Denoiser& denoiser, const Schedule& schedule,
                                   Decoder decoder, const torch::Tensor& x0,
                                   const std::vector<int64_t>& slots, uint64_t seed) {
  torch::NoGradGuard no_grad;
  return reconstruction_nats(decoder, denoiser, schedule, x0, evaluation_noise(seed, 0, slots, x0));
}

// E over eps of the discrete decoder depends on the level alone: one table of one-dimensional
// integrals, of all levels, or, where they are many, of those that occur.
torch::Tensor exact_discrete_nats(const Denoiser& denoiser, const Schedule& schedule,
                                  int64_t of_levels, const torch::Tensor& x0) {
  check_on_pixel_levels(x0, of_levels);
  const auto numbers = levels_from_data(x0, of_levels).flatten().to(torch::kCPU);
  torch::Tensor tabled = torch::arange(of_levels), places = numbers;
  if (of_levels > kPixelLevels)
    std::tie(tabled, places, std::ignore) = at::_unique2(numbers, true, /*return_inverse=*/true);
  const auto levels = data_from_pixels(tabled, torch::kFloat64, of_levels).unsqueeze(1);
  const auto log_snr_0 = schedule.log_snr(torch::tensor(schedule.t_min(), torch::kFloat64));
  const NoisedTerm nats = [&](const torch::Tensor& level, const torch::Tensor& eps,
                              const NoiseLevel&) {
    return discrete_reconstruction_nats(level.squeeze(1), eps.squeeze(1), log_snr_0, of_levels);
  };
  const auto t = torch::full({levels.size(0)}, schedule.t_min(), torch::kFloat64);
  const auto table = expected_over_noise(nats, denoiser, schedule, t, levels,
                                         noise_rules_for(denoiser, schedule, levels))
                         .nats;
  return sum_per_example(table.index_select(0, places).view(x0.sizes()));
}

}  // namespace

torch::Tensor exact_reconstruction_nats(const Denoiser& denoiser, const Schedule& schedule,
                                        Decoder decoder, const torch::Tensor& x0) {
  torch::NoGradGuard no_grad;
  if (decoder == Decoder::discrete)
    return exact_discrete_nats(denoiser, schedule, decoder.levels, x0);
  const auto log_snr_0 =
      schedule.log_snr(torch::tensor(schedule.t_min(), torch::kFloat64)).item<double>();
  const int64_t dims = dims_per_example(x0);
  const double flat = flat_reconstruction_nats(dims, log_snr_0);
  const auto constant = torch::full({x0.size(0)}, flat, torch::kFloat64);
  if (decoder == Decoder::flat) return constant;
  // The flat decoder's |eps|^2 / 2, on average D / 2, gives way to |eps - eps_hat|^2 / 2.
  const auto rules = noise_rules_for(denoiser, schedule, x0);
  const auto t = torch::full({x0.size(0)}, schedule.t_min(), torch::kFloat64);
  return constant - 0.5 * static_cast<double>(dims) +
         0.5 * expected_eps_error(denoiser, schedule, t, x0, rules).nats;
}

LikelihoodResult elbo(const Denoiser& denoiser, const Schedule& schedule, Decoder decoder,
                      const torch::Tensor& x0, const std::vector<int64_t>& slots,
                      const DrawOptions& options) {
  return bound_of(schedule, x0, drawn_diffusion_term(denoiser, schedule, x0, slots, options),
                  drawn_reconstruction(denoiser, schedule, decoder, x0, slots, options.seed));
}

LikelihoodResult elbo_stepwise(const Denoiser& denoiser, const Schedule& schedule, Decoder decoder,
                               int64_t steps, const torch::Tensor& x0,
                               const std::vector<int64_t>& slots, const DrawOptions& options) {
  return bound_of(schedule, x0, drawn_stepwise_term(denoiser, schedule, steps, x0, slots, options),
                  drawn_reconstruction(denoiser, schedule, decoder, x0, slots, options.seed));
}

LikelihoodResult elbo_exact(const Denoiser& denoiser, const Schedule& schedule, Decoder decoder,
                            const torch::Tensor& x0) {
  return bound_of(schedule, x0, exact_diffusion_term(denoiser, schedule, x0),
                  exact_reconstruction_nats(denoiser, schedule, decoder, x0));
}

LikelihoodResult elbo_stepwise_exact(const Denoiser& denoiser, const Schedule& schedule,
                                     Decoder decoder, int64_t steps, const torch::Tensor& x0) {
  return bound_of(schedule, x0, exact_stepwise_term(denoiser, schedule, steps, x0),
                  exact_reconstruction_nats(denoiser, schedule, decoder, x0));
}

}  // namespace scorenet::diffusion
