#include "framework/diffusion/learned_weights.hpp"

#include <cmath>
#include <numbers>
#include <string>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/loss.hpp"
#include "framework/diffusion/preconditioning.hpp"

namespace scorenet::diffusion {

UncertaintyWeight::UncertaintyWeight(int64_t features) {
  if (features < 1) {
    throw ConfigError("uncertainty weight: " + std::to_string(features) +
                      " features, expected at least 1.");
  }
  const auto draw =
      normal_for_slots({0, RandomStream::initial_weights, 0}, {0, 1}, {features}, torch::kFloat64);
  frequencies_ = register_buffer("frequencies", 2.0 * std::numbers::pi * draw[0]);
  phases_ = register_buffer("phases", 2.0 * std::numbers::pi * draw[1]);
  weights_ = register_parameter("weights", torch::zeros({features}));
}

// log(sigma / alpha) / 4 is EDM's noise label; sqrt(2) makes the features' variance 1.
torch::Tensor UncertaintyWeight::forward(const torch::Tensor& log_snr) {
  const auto label = (-0.125 * log_snr.to(weights_.device(), torch::kFloat64)).unsqueeze(1);
  const auto features = std::numbers::sqrt2 * torch::cos(label * frequencies_ + phases_);
  return torch::matmul(features, weights_.to(torch::kFloat64)) /
         std::sqrt(static_cast<double>(weights_.size(0)));
}

torch::Tensor UncertaintyWeight::weigh(const torch::Tensor& loss, const torch::Tensor& log_snr) {
  const auto u = forward(log_snr);
  return loss * (-u).exp() + u;
}

torch::Tensor learned_log_variance_ratio(const torch::Tensor& raw,
                                         const torch::Tensor& log_beta_ratio) {
  return 0.5 * (raw.to(torch::kFloat64) + 1.0) * log_beta_ratio;
}

// With d = log_snr_s - log_snr_t: beta_tilde = sigma_s^2 (-expm1(-d)), beta = sigma_t^2
// (-expm1(-d)), and the mean's gap is (alpha_s / alpha_t) sigma_t (-expm1(-d)) (eps - eps_hat); its
// square over 2 beta_tilde is expm1(d) / 2 |eps - eps_hat|^2.
torch::Tensor learned_variance_step_nats(const Schedule& schedule, const ReverseStep& step,
                                         const torch::Tensor& eps, const torch::Tensor& eps_hat,
                                         const torch::Tensor& raw) {
  check_same_shape(eps, eps_hat, "learned variance: eps and eps_hat");
  check_same_shape(eps, raw, "learned variance: eps and raw");
  const NoiseLevel s = schedule.at(step.s), t = schedule.at(step.t);
  const auto log_beta_ratio =
      broadcast_to_batch((2.0 * (t.sigma.log() - s.sigma.log())).to(eps.device()), eps);
  const auto half_gap =
      broadcast_to_batch((0.5 * torch::expm1(s.log_snr - t.log_snr)).to(eps.device()), eps);
  const auto log_ratio = learned_log_variance_ratio(raw, log_beta_ratio);
  const auto gap = half_gap * (eps - eps_hat).to(torch::kFloat64).square();
  return sum_per_example(0.5 * (log_ratio + torch::expm1(-log_ratio)) + gap * (-log_ratio).exp());
}

torch::Tensor hybrid_loss_per_example(const Network& network,
                                      const Parametrisation& parametrisation,
                                      const Schedule& schedule, int64_t steps,
                                      const torch::Tensor& x0, const ReverseStep& step,
                                      const torch::Tensor& eps, double vlb_weight) {
  const NoiseLevel level = schedule.at(step.t);
  const auto x_t = add_noise(x0, eps, level);
  const auto output = predict(network, parametrisation, x_t, level).chunk(2, 1);
  const auto target = target_from(parametrisation, x0, eps, level);
  check_same_shape(target, output[0], "network output");
  const auto simple =
      loss_weight(Weighting::simple, parametrisation, schedule, {step.t, {}}).to(x0.device()) *
      sum_per_example((target - output[0]).square()).to(torch::kFloat64);
  const auto eps_hat = denoised_from(parametrisation, output[0].detach(), x_t, level).eps;
  return simple + vlb_weight * static_cast<double>(steps) *
                      learned_variance_step_nats(schedule, step, eps, eps_hat, output[1]);
}

}  // namespace scorenet::diffusion
