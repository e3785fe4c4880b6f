#include "framework/diffusion/variational_bound.hpp"

#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "framework/core/check.hpp"
#include "framework/diffusion/likelihood/units.hpp"
#include "framework/diffusion/names.hpp"
#include "framework/diffusion/preconditioning.hpp"

namespace scorenet::diffusion {
namespace {

constexpr std::array<std::pair<const char*, Decoder>, 3> kNames{
    {{"discrete", Decoder::discrete}, {"flat", Decoder::flat}, {"tweedie", Decoder::tweedie}}};

torch::Tensor log_snr_at_t_min(const Schedule& schedule) {
  return schedule.log_snr(torch::tensor(schedule.t_min(), torch::kFloat64));
}

// Number of levels to either side that can carry more than exp(-40) of the softmax's weight. Draws
// of eps stay below 8.6 (53-bit Box-Muller), and level d weighs exp(-(eps - d r)^2 / 2) with
// r = bin width / noise.
int64_t reach_in_levels(double r, int64_t levels) {
  const double reach = std::ceil((8.6 + 9.0) / r);
  return static_cast<int64_t>(std::min(reach, static_cast<double>(levels - 1)));
}

// Logits that are summed at once: all of them for 256 levels.
constexpr size_t kMostLogits = 2 * kPixelLevels;

}  // namespace

Decoder decoder_from_name(const std::string& name) {
  std::string known;
  for (const auto& [text, decoder] : kNames) {
    if (name == text) return decoder;
    known += std::string(" ") + text;
  }
  throw ConfigError("eval.decoder = \"" + name + "\": expected one of" + known + ".");
}

std::vector<std::string> decoder_names() {
  std::vector<std::string> names;
  for (const auto& [text, decoder] : kNames) names.emplace_back(text);
  return names;
}

torch::Tensor prior_nats(const Schedule& schedule, const torch::Tensor& x0) {
  const auto t = torch::tensor(schedule.t_max(), torch::kFloat64);
  const NoiseLevel level = schedule.at(t);
  const auto ratio = level.sigma.square() / schedule.prior_variance();
  const auto signal = level.alpha.square() / schedule.prior_variance();
  const auto squares = sum_per_example(x0.to(torch::kFloat64).square());
  const auto dims = static_cast<double>(dims_per_example(x0));
  return 0.5 * (signal * squares + dims * (ratio - 1.0 - ratio.log()));
}

// With k the true level and d the distance from it, logit_d - logit_0 = d r eps - d^2 r^2 / 2: no
// difference of pixel values is formed. The cross-entropy is the log of the sum of their
// exponentials over 0 <= k + d < levels.
torch::Tensor discrete_reconstruction_nats(const torch::Tensor& x0, const torch::Tensor& eps,
                                           const torch::Tensor& log_snr_0, int64_t levels) {
  check_same_shape(x0, eps, "x0 and eps");
  check_on_pixel_levels(x0, levels);
  const auto level = levels_from_data(x0, levels);
  const auto noise = eps.to(torch::kFloat64);
  const auto r = bin_width(levels) * (0.5 * log_snr_0.to(torch::kFloat64)).exp();
  const int64_t reach = reach_in_levels(r.item<double>(), levels);
  std::vector<torch::Tensor> logits{torch::zeros_like(noise)};
  for (int64_t d = -reach; d <= reach; ++d) {
    if (d == 0) continue;
    const auto step = static_cast<double>(d) * r;
    const auto outside = (level + d).lt(0) | (level + d).ge(levels);
    logits.push_back((step * noise - 0.5 * step.square())
                         .masked_fill(outside, -std::numeric_limits<double>::infinity()));
    if (logits.size() == kMostLogits) logits = {torch::logsumexp(torch::stack(logits), 0)};
  }
  return sum_per_example(torch::logsumexp(torch::stack(logits), 0));
}

double flat_reconstruction_nats(int64_t dims, double log_snr_0) {
  return 0.5 * static_cast<double>(dims) *
         (std::log(2.0 * std::numbers::pi * std::numbers::e) - log_snr_0);
}

torch::Tensor tweedie_reconstruction_nats(const Denoiser& denoiser, const Schedule& schedule,
                                          const torch::Tensor& x0, const torch::Tensor& eps) {
  const NoiseLevel level = schedule.at(schedule.t_min(), x0.size(0));
  const auto eps_hat = denoiser(add_noise(x0, eps, level), level).eps;
  const auto dims = static_cast<double>(dims_per_example(x0));
  return 0.5 * dims * (std::log(2.0 * std::numbers::pi) - level.log_snr).to(x0.device()) +
         0.5 * sum_per_example((eps - eps_hat).to(torch::kFloat64).square());
}

torch::Tensor reconstruction_nats(Decoder decoder, const Denoiser& denoiser,
                                  const Schedule& schedule, const torch::Tensor& x0,
                                  const torch::Tensor& eps) {
  const auto log_snr_0 = log_snr_at_t_min(schedule);
  switch (decoder.kind) {
    case Decoder::discrete:
      return discrete_reconstruction_nats(x0, eps, log_snr_0, decoder.levels);
    case Decoder::tweedie:
      return tweedie_reconstruction_nats(denoiser, schedule, x0, eps);
    case Decoder::flat:
      break;
  }
  const double nats = flat_reconstruction_nats(dims_per_example(x0), log_snr_0.item<double>());
  return torch::full({x0.size(0)}, nats, torch::kFloat64);
}

BoundTerms bound_per_example(const Network& network, const Parametrisation& parametrisation,
                             const Schedule& schedule, Decoder decoder, const torch::Tensor& x0,
                             const TimeSample& times, const torch::Tensor& eps,
                             const torch::Tensor& eps_0) {
  const Denoiser denoiser = make_denoiser(network, parametrisation);
  return {prior_nats(schedule, x0),
          loss_per_example(network, parametrisation, Weighting::elbo, schedule, x0, times, eps),
          reconstruction_nats(decoder, denoiser, schedule, x0, eps_0)};
}

}  // namespace scorenet::diffusion
