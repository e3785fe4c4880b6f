#include <cmath>

#include "framework/diffusion/schedules.hpp"

namespace scorenet::diffusion {

VeGeometric::VeGeometric(double sigma_min, double sigma_max, double t_min, double t_max)
    : Schedule(t_min, t_max),
      log_sigma_min_(std::log(sigma_min)),
      log_ratio_(std::log(sigma_max / sigma_min)),
      sigma_max_(sigma_max) {}

torch::Tensor VeGeometric::log_alpha(const torch::Tensor& t) const { return torch::zeros_like(t); }
torch::Tensor VeGeometric::log_snr(const torch::Tensor& t) const {
  return -2.0 * (log_sigma_min_ + log_ratio_ * t);
}
torch::Tensor VeGeometric::d_log_alpha(const torch::Tensor& t) const {
  return torch::zeros_like(t);
}
torch::Tensor VeGeometric::d_log_snr(const torch::Tensor& t) const {
  return torch::full_like(t, -2.0 * log_ratio_);
}
torch::Tensor VeGeometric::time_of(const torch::Tensor& log_snr) const {
  return (-0.5 * log_snr - log_sigma_min_) / log_ratio_;
}

Edm::Edm(double sigma_max, double t_min, double t_max)
    : Schedule(t_min, t_max), sigma_max_(sigma_max) {}

torch::Tensor Edm::log_alpha(const torch::Tensor& t) const { return torch::zeros_like(t); }
torch::Tensor Edm::log_snr(const torch::Tensor& t) const { return -2.0 * t.log(); }
torch::Tensor Edm::d_log_alpha(const torch::Tensor& t) const { return torch::zeros_like(t); }
torch::Tensor Edm::d_log_snr(const torch::Tensor& t) const { return -2.0 / t; }
torch::Tensor Edm::time_of(const torch::Tensor& log_snr) const { return (-0.5 * log_snr).exp(); }

Flow::Flow(double t_min, double t_max) : Schedule(t_min, t_max) {}

torch::Tensor Flow::log_alpha(const torch::Tensor& t) const { return torch::log1p(-t); }
torch::Tensor Flow::log_snr(const torch::Tensor& t) const {
  return 2.0 * (torch::log1p(-t) - t.log());
}
torch::Tensor Flow::d_log_alpha(const torch::Tensor& t) const { return -1.0 / (1.0 - t); }
torch::Tensor Flow::d_log_snr(const torch::Tensor& t) const { return -2.0 / (t * (1.0 - t)); }
torch::Tensor Flow::time_of(const torch::Tensor& log_snr) const {
  return torch::sigmoid(-0.5 * log_snr);
}

}  // namespace scorenet::diffusion
