#include "framework/diffusion/learned_schedule.hpp"

#include <torch/utils.h>

#include <cmath>
#include <numbers>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/diffusion/loss.hpp"
#include "framework/diffusion/variational_bound.hpp"

namespace scorenet::diffusion {
namespace {

// softplus keeps the weights positive and, unlike |w|, never stops their gradient.
torch::Tensor made_positive(const torch::Tensor& w) {
  const auto x = w.to(torch::kFloat64);
  return torch::logaddexp(x, torch::zeros_like(x));
}

float inverse_softplus(double y) { return static_cast<float>(std::log(std::expm1(y))); }

}  // namespace

// Steps of width 1/8 centred evenly over [0, 1]: together a second, gentle line.
MonotoneGamma::MonotoneGamma(double gamma_min, double gamma_max, int64_t hidden, bool learn_ends)
    : gamma_min_(gamma_min), gamma_max_(gamma_max) {
  if (!(gamma_min < gamma_max) || hidden < 1) {
    std::ostringstream sentence;
    sentence << "learned schedule: gamma_min = " << gamma_min << ", gamma_max = " << gamma_max
             << ", hidden = " << hidden << "; expected gamma_min < gamma_max and hidden >= 1.";
    throw ConfigError(sentence.str());
  }
  constexpr double kSteepness = 4.0;
  const auto centres = (torch::arange(hidden) + 0.5) / static_cast<double>(hidden);
  line_ = register_parameter("line", torch::full({1}, inverse_softplus(1.0)));
  steep_ = register_parameter("steep", torch::full({hidden}, inverse_softplus(kSteepness)));
  bias_ = register_parameter("bias", (-kSteepness * (2.0 * centres - 1.0)).to(torch::kFloat32));
  height_ = register_parameter("height", torch::full({hidden}, inverse_softplus(0.1)));
  if (learn_ends) ends_ = register_parameter("ends", torch::zeros({2}));
}

MonotoneGamma::Share MonotoneGamma::share(const torch::Tensor& t) {
  const auto flat = t.to(torch::kFloat64).reshape({-1});
  const auto here = [&](const torch::Tensor& w) { return w.to(flat.device()); };
  // The ends go through the same arithmetic as the rest, so share(0) and share(1) are exact.
  const auto all =
      torch::cat({flat, torch::zeros({1}, flat.options()), torch::ones({1}, flat.options())})
          .unsqueeze(1);
  const auto a = made_positive(here(steep_));
  const auto c = made_positive(here(height_)) / static_cast<double>(height_.size(0));
  const auto w = made_positive(here(line_));
  const auto bump = torch::sigmoid(a * (2.0 * all - 1.0) + here(bias_).to(torch::kFloat64));
  const auto raw = w * all.squeeze(1) + (c * bump).sum(1);
  const auto raw_slope = w + (2.0 * a * c * bump * (1.0 - bump)).sum(1);
  const auto n = flat.size(0);
  const auto length = raw[n + 1] - raw[n];
  return {((raw.slice(0, 0, n) - raw[n]) / length).view(t.sizes()),
          (raw_slope.slice(0, 0, n) / length).view(t.sizes())};
}

MonotoneGamma::Value MonotoneGamma::between_ends(const Share& share) {
  auto first = torch::full_like(share.share, gamma_min_);
  auto last = torch::full_like(share.share, gamma_max_);
  if (learns_ends()) {
    const auto e = ends_.to(share.share.options());
    first = first + e[0];
    last = first + (gamma_max_ - gamma_min_) * e[1].exp();
  }
  return {torch::lerp(first, last, share.share), (last - first) * share.slope};
}

MonotoneGamma::Value MonotoneGamma::forward(const torch::Tensor& t) {
  return between_ends(share(t));
}

LearnedSchedule::LearnedSchedule(std::shared_ptr<MonotoneGamma> network, double t_min, double t_max)
    : Schedule(t_min, t_max), network_(std::move(network)) {}

torch::Tensor LearnedSchedule::log_snr(const torch::Tensor& t) const {
  torch::NoGradGuard no_grad;
  return -network_->forward(t).gamma;
}
torch::Tensor LearnedSchedule::d_log_snr(const torch::Tensor& t) const {
  torch::NoGradGuard no_grad;
  return -network_->forward(t).slope;
}
// alpha^2 = sigmoid(-gamma): log alpha = -softplus(gamma) / 2, with slope -sigmoid(gamma)
// gamma' / 2.
torch::Tensor LearnedSchedule::log_alpha(const torch::Tensor& t) const {
  return -0.5 * made_positive(-log_snr(t));
}
torch::Tensor LearnedSchedule::d_log_alpha(const torch::Tensor& t) const {
  torch::NoGradGuard no_grad;
  const auto value = network_->forward(t);
  return -0.5 * torch::sigmoid(value.gamma) * value.slope;
}

ScheduleTap::ScheduleTap(const LearnedSchedule& schedule, const TimeSample& times)
    : inverse_density_(times.inverse_density), factor_(std::make_shared<torch::Tensor>()) {
  const MonotoneGamma::Share share = schedule.network()->share(times.t);
  for (const torch::Tensor& inside : {share.share, share.slope}) {
    if (!inside.requires_grad()) continue;
    inside.register_hook([factor = factor_](const torch::Tensor& gradient) {
      return factor->defined() ? gradient * factor->to(gradient.options()) : gradient;
    });
  }
  value_ = schedule.network()->between_ends(share);
}

NoiseLevel ScheduleTap::level() const {
  return {torch::sigmoid(-value_.gamma).sqrt(), torch::sigmoid(value_.gamma).sqrt(), -value_.gamma};
}

torch::Tensor ScheduleTap::eps_weight() const { return 0.5 * value_.slope * inverse_density_; }

void ScheduleTap::scale_inside(const torch::Tensor& factor) const {
  check_same_shape(factor, value_.gamma, "learned schedule: factors and times");
  *factor_ = factor;
}

torch::Tensor tapped_loss_per_example(const Network& network,
                                      const Parametrisation& parametrisation,
                                      const ScheduleTap& tap, const torch::Tensor& x0,
                                      const torch::Tensor& eps) {
  const NoiseLevel level = tap.level();
  const auto weight = tap.eps_weight() * eps_error_ratio(parametrisation, level);
  const auto loss =
      weight.to(x0.device()) * squared_error(network, parametrisation, x0, eps, level);
  tap.scale_inside(2.0 / static_cast<double>(dims_per_example(x0)) * loss.detach());
  return loss;
}

torch::Tensor end_terms_nats(const LearnedSchedule& schedule, int64_t levels,
                             const torch::Tensor& x0, const torch::Tensor& eps) {
  const auto gamma = schedule.network()->forward(end_times(schedule, x0.device())).gamma;
  const auto gamma_0 = gamma[0], gamma_1 = gamma[1];
  const auto dims = static_cast<double>(dims_per_example(x0));
  const auto variance = torch::sigmoid(gamma_1);
  const auto prior =
      0.5 * (torch::sigmoid(-gamma_1) * sum_per_example(x0.to(torch::kFloat64).square()) +
             dims * (variance - 1.0 - variance.log()));
  if (levels > 0) return prior + discrete_reconstruction_nats(x0, eps, -gamma_0, levels);
  return prior + 0.5 * dims * (std::log(2.0 * std::numbers::pi * std::numbers::e) + gamma_0);
}

}  // namespace scorenet::diffusion
