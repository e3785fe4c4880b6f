#include "framework/diffusion/loss.hpp"

#include <array>
#include <utility>

#include "framework/core/check.hpp"
#include "framework/diffusion/names.hpp"
#include "framework/diffusion/preconditioning.hpp"

namespace scorenet::diffusion {
namespace {

constexpr std::array<std::pair<const char*, Weighting>, 5> kNames{
    {{"elbo", Weighting::elbo},
     {"likelihood", Weighting::likelihood},
     {"simple", Weighting::simple},
     {"edm", Weighting::edm},
     {"min_snr", Weighting::min_snr}}};

torch::Tensor simple_weight(const Parametrisation& parametrisation, const NoiseLevel& level) {
  return parametrisation.prediction == Prediction::score ? level.sigma.square()
                                                         : torch::ones_like(level.sigma);
}

// (sigma'^2 + sd^2) / sd^2 on |eps - eps_hat|^2, since |x0 - x0_hat|^2 = sigma'^2
// |eps - eps_hat|^2.
torch::Tensor edm_weight_on_eps(double sigma_data, const NoiseLevel& level) {
  return 1.0 + (-level.log_snr).exp() / (sigma_data * sigma_data);
}

// min(snr, cap) / snr on |eps - eps_hat|^2.
torch::Tensor min_snr_weight_on_eps(double cap, const NoiseLevel& level) {
  return (cap * (-level.log_snr).exp()).clamp_max(1.0);
}

void check_steps(int64_t steps) {
  if (steps >= 1) return;
  throw ConfigError("number of steps T = " + std::to_string(steps) + ": must be at least 1.");
}

}  // namespace

Weighting weighting_from_name(const std::string& name) {
  for (const auto& [text, weighting] : kNames) {
    if (name == text) return weighting;
  }
  std::string sentence = "diffusion.loss = \"" + name + "\": expected one of";
  for (const std::string& known : weighting_names()) sentence += " " + known;
  throw ConfigError(sentence + ".");
}

std::vector<std::string> weighting_names() {
  std::vector<std::string> names;
  for (const auto& entry : kNames) names.emplace_back(entry.first);
  return names;
}

torch::Tensor loss_weight(Weighting weighting, const Parametrisation& parametrisation,
                          const Schedule& schedule, const TimeSample& times, double min_snr_cap) {
  const NoiseLevel level = schedule.at(times.t);
  const auto ratio = eps_error_ratio(parametrisation, level);
  switch (weighting) {
    case Weighting::simple:
      return simple_weight(parametrisation, level);
    case Weighting::edm:
      return edm_weight_on_eps(parametrisation.sigma_data, level) * ratio;
    case Weighting::min_snr:
      return min_snr_weight_on_eps(min_snr_cap, level) * ratio;
    case Weighting::elbo:
    case Weighting::likelihood:
      break;
  }
  return -0.5 * schedule.d_log_snr(times.t) * times.inverse_density * ratio;
}

torch::Tensor squared_error(const Network& network, const Parametrisation& parametrisation,
                            const torch::Tensor& x0, const torch::Tensor& eps,
                            const NoiseLevel& level) {
  const auto target = target_from(parametrisation, x0, eps, level);
  const auto prediction = predict(network, parametrisation, add_noise(x0, eps, level), level);
  check_same_shape(target, prediction, "network output");
  return sum_per_example((target - prediction.to(target.scalar_type())).square())
      .to(torch::kFloat64);
}

torch::Tensor loss_per_example(const Network& network, const Parametrisation& parametrisation,
                               Weighting weighting, const Schedule& schedule,
                               const torch::Tensor& x0, const TimeSample& times,
                               const torch::Tensor& eps, double min_snr_cap) {
  return loss_weight(weighting, parametrisation, schedule, times, min_snr_cap).to(x0.device()) *
         squared_error(network, parametrisation, x0, eps, schedule.at(times.t));
}

torch::Tensor step_times(const Schedule& schedule, int64_t steps) {
  check_steps(steps);
  return torch::linspace(schedule.t_min(), schedule.t_max(), steps + 1, torch::kFloat64);
}

ReverseStep reverse_step(const torch::Tensor& grid, const torch::Tensor& i) {
  return {grid.index_select(0, i - 1), grid.index_select(0, i)};
}

torch::Tensor step_weight(const Parametrisation& parametrisation, const Schedule& schedule,
                          const ReverseStep& step) {
  const NoiseLevel level = schedule.at(step.t);
  const auto drop = schedule.log_snr(step.s) - level.log_snr;
  return 0.5 * torch::expm1(drop) * eps_error_ratio(parametrisation, level);
}

torch::Tensor stepwise_loss_per_example(const Network& network,
                                        const Parametrisation& parametrisation,
                                        const Schedule& schedule, int64_t steps,
                                        const torch::Tensor& x0, const ReverseStep& step,
                                        const torch::Tensor& eps) {
  const NoiseLevel level = schedule.at(step.t);
  const auto weight = step_weight(parametrisation, schedule, step).to(x0.device());
  return static_cast<double>(steps) * weight *
         squared_error(network, parametrisation, x0, eps, level);
}

torch::Tensor steps_from_positions(const torch::Tensor& positions, int64_t steps) {
  check_steps(steps);
  const auto index = (positions * static_cast<double>(steps)).floor().to(torch::kInt64) + 1;
  return index.clamp(1, steps);
}

}  // namespace scorenet::diffusion
