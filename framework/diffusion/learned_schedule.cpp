#include "framework/diffusion/learned_schedule.hpp"

#include <torch/autograd.h>
#include <torch/utils.h>

#include <cmath>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/diffusion/loss.hpp"

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
MonotoneGamma::MonotoneGamma(double gamma_min, double gamma_max, int64_t hidden)
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
}

MonotoneGamma::Value MonotoneGamma::forward(const torch::Tensor& t) {
  const auto flat = t.to(torch::kFloat64).reshape({-1});
  // The ends go through the same arithmetic as the rest, so gamma(0) and gamma(1) are exact.
  const auto all = torch::cat({flat, torch::tensor({0.0, 1.0}, torch::kFloat64)}).unsqueeze(1);
  const auto a = made_positive(steep_);
  const auto c = made_positive(height_) / static_cast<double>(height_.size(0));
  const auto w = made_positive(line_);
  const auto bump = torch::sigmoid(a * (2.0 * all - 1.0) + bias_.to(torch::kFloat64));
  const auto raw = w * all.squeeze(1) + (c * bump).sum(1);
  const auto raw_slope = w + (2.0 * a * c * bump * (1.0 - bump)).sum(1);
  const auto n = flat.size(0);
  const auto scale = (gamma_max_ - gamma_min_) / (raw[n + 1] - raw[n]);
  const auto share = (raw.slice(0, 0, n) - raw[n]) / (raw[n + 1] - raw[n]);
  const auto gamma =
      torch::lerp(torch::full_like(share, gamma_min_), torch::full_like(share, gamma_max_), share);
  return {gamma.view(t.sizes()), (scale * raw_slope.slice(0, 0, n)).view(t.sizes())};
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
// alpha^2 = sigmoid(-gamma): log alpha = -softplus(gamma) / 2, with slope -sigmoid(gamma) gamma' / 2.
torch::Tensor LearnedSchedule::log_alpha(const torch::Tensor& t) const {
  return -0.5 * made_positive(-log_snr(t));
}
torch::Tensor LearnedSchedule::d_log_alpha(const torch::Tensor& t) const {
  torch::NoGradGuard no_grad;
  const auto value = network_->forward(t);
  return -0.5 * torch::sigmoid(value.gamma) * value.slope;
}

ScheduleTap::ScheduleTap(const LearnedSchedule& schedule, const TimeSample& times)
    : attached_(schedule.network()->forward(times.t)),
      gamma_(attached_.gamma.detach().requires_grad_()),
      slope_(attached_.slope.detach().requires_grad_()),
      inverse_density_(times.inverse_density) {}

NoiseLevel ScheduleTap::level() const {
  return {torch::sigmoid(-gamma_).sqrt(), torch::sigmoid(gamma_).sqrt(), -gamma_};
}

torch::Tensor ScheduleTap::eps_weight() const { return 0.5 * slope_ * inverse_density_; }

// loss.mean().backward() left dL_i / B in the gradients of the i-th gamma and slope: L_i knows no other.
void ScheduleTap::add_variance_gradient(const torch::Tensor& loss) const {
  check_same_shape(loss, gamma_, "variance gradient: loss and times");
  const auto twice = 2.0 * loss.detach().to(gamma_.device());
  torch::autograd::backward({attached_.gamma, attached_.slope},
                            {twice * gamma_.grad(), twice * slope_.grad()});
}

torch::Tensor tapped_loss_per_example(const Network& network,
                                      const Parametrisation& parametrisation,
                                      const ScheduleTap& tap, const torch::Tensor& x0,
                                      const torch::Tensor& eps) {
  const NoiseLevel level = tap.level();
  const auto weight = tap.eps_weight() * eps_error_ratio(parametrisation, level);
  return weight.to(x0.device()) * squared_error(network, parametrisation, x0, eps, level);
}

}  // namespace scorenet::diffusion
