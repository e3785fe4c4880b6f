#include <cmath>
#include <numbers>

#include "framework/diffusion/schedules.hpp"

namespace scorenet::diffusion {
namespace {

// log(1 + e^x), exact at both ends (ATen's softplus switches to x at 20).
torch::Tensor log1p_exp(const torch::Tensor& x) {
  return torch::logaddexp(x, torch::zeros_like(x));
}

torch::Tensor beta_at(double b0, double b1, const torch::Tensor& t) { return b0 + (b1 - b0) * t; }

torch::Tensor beta_integral(double b0, double b1, const torch::Tensor& t) {
  return t * (b0 + 0.5 * (b1 - b0) * t);
}

// The root of beta_integral = B, in the form that keeps its digits where B or b1 - b0 is small.
torch::Tensor time_of_integral(double b0, double b1, const torch::Tensor& integral) {
  return 2.0 * integral / (b0 + (b0 * b0 + 2.0 * (b1 - b0) * integral).sqrt());
}

}  // namespace

LinearBetaVp::LinearBetaVp(double beta_0, double beta_1, double t_min, double t_max)
    : Schedule(t_min, t_max), beta_0_(beta_0), beta_1_(beta_1) {}

torch::Tensor LinearBetaVp::log_alpha(const torch::Tensor& t) const {
  return -0.5 * beta_integral(beta_0_, beta_1_, t);
}
// -log(expm1(B)), written so that a large B does not overflow.
torch::Tensor LinearBetaVp::log_snr(const torch::Tensor& t) const {
  const auto integral = beta_integral(beta_0_, beta_1_, t);
  return -(integral + (-torch::expm1(-integral)).log());
}
torch::Tensor LinearBetaVp::d_log_alpha(const torch::Tensor& t) const {
  return -0.5 * beta_at(beta_0_, beta_1_, t);
}
torch::Tensor LinearBetaVp::d_log_snr(const torch::Tensor& t) const {
  return beta_at(beta_0_, beta_1_, t) / torch::expm1(-beta_integral(beta_0_, beta_1_, t));
}
torch::Tensor LinearBetaVp::time_of(const torch::Tensor& log_snr) const {
  return time_of_integral(beta_0_, beta_1_, log1p_exp(-log_snr));
}

SubVp::SubVp(double beta_0, double beta_1, double t_min, double t_max)
    : Schedule(t_min, t_max), beta_0_(beta_0), beta_1_(beta_1) {}

torch::Tensor SubVp::log_alpha(const torch::Tensor& t) const {
  return -0.5 * beta_integral(beta_0_, beta_1_, t);
}
torch::Tensor SubVp::log_snr(const torch::Tensor& t) const {
  const auto integral = beta_integral(beta_0_, beta_1_, t);
  return -(integral + 2.0 * (-torch::expm1(-integral)).log());
}
torch::Tensor SubVp::d_log_alpha(const torch::Tensor& t) const {
  return -0.5 * beta_at(beta_0_, beta_1_, t);
}
torch::Tensor SubVp::d_log_snr(const torch::Tensor& t) const {
  const auto integral = beta_integral(beta_0_, beta_1_, t);
  return -beta_at(beta_0_, beta_1_, t) / torch::tanh(0.5 * integral);
}
// sigma / alpha = 2 sinh(B / 2).
torch::Tensor SubVp::time_of(const torch::Tensor& log_snr) const {
  return time_of_integral(beta_0_, beta_1_, 2.0 * torch::asinh(0.5 * (-0.5 * log_snr).exp()));
}

CosineVp::CosineVp(double offset, double t_min, double t_max)
    : Schedule(t_min, t_max), offset_(offset), k_(0.5 * std::numbers::pi / (1.0 + offset)) {}

// k (1 + o) = pi / 2, so cos(k (t + o)) = sin(k (1 - t)): the sine keeps its digits as t -> 1.
torch::Tensor CosineVp::log_alpha(const torch::Tensor& t) const {
  return (torch::sin(k_ * (1.0 - t)) / std::cos(k_ * offset_)).log();
}
torch::Tensor CosineVp::log_snr(const torch::Tensor& t) const {
  return 2.0 * torch::sin(k_ * (1.0 - t)).log() - torch::sin(k_ * t).log() -
         torch::sin(k_ * (t + 2.0 * offset_)).log();
}
torch::Tensor CosineVp::d_log_alpha(const torch::Tensor& t) const {
  return -k_ / torch::tan(k_ * (1.0 - t));
}
torch::Tensor CosineVp::d_log_snr(const torch::Tensor& t) const {
  return -k_ * (2.0 / torch::tan(k_ * (1.0 - t)) + 1.0 / torch::tan(k_ * t) +
                1.0 / torch::tan(k_ * (t + 2.0 * offset_)));
}
// With p = k o and q = k (t + o): cos q = cos p sqrt(sigmoid(log_snr)), and sin(q - p)
// sin(q + p) = sin^2 q - sin^2 p = cos^2 p sigmoid(-log_snr) gives a small t without a difference.
torch::Tensor CosineVp::time_of(const torch::Tensor& log_snr) const {
  const double p = k_ * offset_;
  const double cos2_p = std::cos(p) * std::cos(p);
  const auto noise_share = cos2_p * torch::sigmoid(-log_snr);
  const auto q = torch::atan2((std::sin(p) * std::sin(p) + noise_share).sqrt(),
                              std::cos(p) * torch::sigmoid(log_snr).sqrt());
  const auto late = q / k_ - offset_;
  const auto early = torch::asin((noise_share / torch::sin(q + p)).clamp_max(1.0)) / k_;
  return torch::where(late < 0.5, early, late);
}

LinearLogSnrVp::LinearLogSnrVp(double gamma_min, double gamma_max, double t_min, double t_max)
    : Schedule(t_min, t_max), gamma_min_(gamma_min), slope_(gamma_max - gamma_min) {}

torch::Tensor LinearLogSnrVp::log_alpha(const torch::Tensor& t) const {
  return -0.5 * log1p_exp(-log_snr(t));
}
torch::Tensor LinearLogSnrVp::log_snr(const torch::Tensor& t) const {
  return -(gamma_min_ + slope_ * t);
}
torch::Tensor LinearLogSnrVp::d_log_alpha(const torch::Tensor& t) const {
  return -0.5 * slope_ * torch::sigmoid(-log_snr(t));
}
torch::Tensor LinearLogSnrVp::d_log_snr(const torch::Tensor& t) const {
  return torch::full_like(t, -slope_);
}
torch::Tensor LinearLogSnrVp::time_of(const torch::Tensor& log_snr) const {
  return (-log_snr - gamma_min_) / slope_;
}

}  // namespace scorenet::diffusion
