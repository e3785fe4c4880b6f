#include "framework/diffusion/likelihood/mcallester.hpp"

#include <torch/utils.h>

#include <cmath>
#include <numbers>

#include "framework/core/check.hpp"
#include "framework/diffusion/likelihood/elbo.hpp"
#include "framework/diffusion/likelihood/exactness.hpp"
#include "framework/diffusion/parametrisation.hpp"

namespace scorenet::diffusion {
namespace {

// log q(z | x0) - log q(z): its mean over eps is KL(q(z | x0) || q(z)).
NoisedTerm noisy_end(const GaussianMixture& mixture) {
  return [&mixture](const torch::Tensor& x0, const torch::Tensor& eps, const NoiseLevel& level) {
    const auto dims = static_cast<double>(dims_per_example(x0));
    const auto log_conditional = -0.5 * sum_per_example(eps.square()) - dims * level.sigma.log() -
                                 dims / 2 * std::log(2 * std::numbers::pi);
    return log_conditional - mixture.log_density(add_noise(x0, eps, level), level);
  };
}

NoisedTerm clean_end(const GaussianMixture& mixture) {
  return [&mixture](const torch::Tensor& x0, const torch::Tensor& eps, const NoiseLevel& level) {
    return -mixture.log_posterior(x0, add_noise(x0, eps, level), level);
  };
}

torch::Tensor by_draws(const NoisedTerm& term, const Schedule& schedule, double t,
                       const torch::Tensor& x0, const std::vector<int64_t>& slots,
                       const DrawOptions& options, int64_t first_draw) {
  auto sum = torch::zeros({x0.size(0)}, torch::kFloat64);
  for (int64_t k = 0; k < options.time_samples; ++k) {
    const auto eps = evaluation_noise(options.seed, first_draw + k, slots, x0);
    sum += term(x0, eps, schedule.at(t, x0.size(0)));
  }
  return sum / static_cast<double>(options.time_samples);
}

LikelihoodResult assemble(const torch::Tensor& prior, const IntegratedTerm& diffusion,
                          const torch::Tensor& reconstruction) {
  LikelihoodResult result;
  result.kind = ResultKind::exact;
  result.nats = prior + diffusion.nats + reconstruction;
  result.terms = {
      {"prior", prior}, {"diffusion", diffusion.nats}, {"reconstruction", reconstruction}};
  result.nfe = diffusion.nfe;
  return result;
}

LikelihoodResult as_estimate(LikelihoodResult bound) {
  bound.kind = ResultKind::estimate;
  return bound;
}

Denoiser denoiser_of(const GaussianMixture& mixture) {
  return [&mixture](const torch::Tensor& x_t, const NoiseLevel& level) {
    return mixture.denoise(x_t, level);
  };
}

}  // namespace

LikelihoodResult mcallester(const Denoiser& denoiser, const Schedule& schedule, Decoder decoder,
                            const torch::Tensor& x0, const std::vector<int64_t>& slots,
                            const DrawOptions& options) {
  return as_estimate(elbo(denoiser, schedule, decoder, x0, slots, options));
}

LikelihoodResult mcallester_exact(const Denoiser& denoiser, const Schedule& schedule,
                                  Decoder decoder, const torch::Tensor& x0) {
  return as_estimate(elbo_exact(denoiser, schedule, decoder, x0));
}

LikelihoodResult mcallester(const GaussianMixture& mixture, const Schedule& schedule,
                            const torch::Tensor& x0, const std::vector<int64_t>& slots,
                            const DrawOptions& options) {
  const torch::NoGradGuard no_grad;
  const auto x = x0.to(torch::kFloat64);
  const auto diffusion = drawn_diffusion_term(denoiser_of(mixture), schedule, x, slots, options);
  // Draws 1..K are the diffusion term's own.
  const int64_t k = options.time_samples;
  return assemble(
      by_draws(noisy_end(mixture), schedule, schedule.t_max(), x, slots, options, k + 1), diffusion,
      by_draws(clean_end(mixture), schedule, schedule.t_min(), x, slots, options, 2 * k + 1));
}

void require_density(const torch::Tensor& nats, const GaussianMixture& mixture,
                     const torch::Tensor& x0) {
  const auto one = torch::ones({x0.size(0)}, torch::kFloat64);
  const auto density = -mixture.log_density(x0, {one, torch::zeros_like(one), one / 0.0});
  const auto error = ((nats - density).abs() / (1 + density.abs())).nan_to_num(0, 0);
  const auto row = error.argmax().item<int64_t>();
  if (error[row].item<double>() <= kExactError) return;
  refuse_exact("mcallester differs from the mixture's -log p (relative)", error[row].item<double>(),
               kExactError, x0, row, "the model is too sharp for the quadratures");
}

LikelihoodResult mcallester_exact(const GaussianMixture& mixture, const Schedule& schedule,
                                  const torch::Tensor& x0) {
  const torch::NoGradGuard no_grad;
  const auto x = x0.to(torch::kFloat64);
  const Denoiser denoiser = denoiser_of(mixture);
  // For one Gaussian both end terms are quadratic in eps, so the cubature above D = 2 is exact
  // for them too.
  const auto rules = noise_rules_for(denoiser, schedule, x);
  const auto at_end = [&](const NoisedTerm& term, double t) {
    const auto times = torch::full({x.size(0)}, t, torch::kFloat64);
    return expected_over_noise(term, denoiser, schedule, times, x, rules).nats;
  };
  const LikelihoodResult result = assemble(at_end(noisy_end(mixture), schedule.t_max()),
                                           exact_diffusion_term(denoiser, schedule, x),
                                           at_end(clean_end(mixture), schedule.t_min()));
  require_density(result.nats, mixture, x);
  return result;
}

}  // namespace scorenet::diffusion
