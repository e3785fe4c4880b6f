// All schedules of the project, one small class each. Users call make_schedule (schedule.hpp).
//
// B(t) is the integral of beta. The formulas of log-SNR never subtract two large numbers to get a
// small one.
#pragma once

#include "framework/diffusion/schedule.hpp"

namespace scorenet::diffusion {

/// alpha = exp(-B/2), sigma^2 = -expm1(-B), B = b0 t + (b1 - b0) t^2 / 2: beta(t) rises linearly
/// from b0 to b1. DDPM's and score_sde's VP (Song et al. 2021, 2011.13456, eq. 32); b0 = b1 is
/// vp_constant, b0 = 0 is vp_ramp, the SIMPLE schedule of Hirono et al. 2024 (2403.11262).
class LinearBetaVp : public Schedule {
 public:
  LinearBetaVp(double beta_0, double beta_1, double t_min, double t_max);
  torch::Tensor log_alpha(const torch::Tensor& t) const override;
  torch::Tensor log_snr(const torch::Tensor& t) const override;
  torch::Tensor d_log_alpha(const torch::Tensor& t) const override;
  torch::Tensor d_log_snr(const torch::Tensor& t) const override;
  torch::Tensor time_of(const torch::Tensor& log_snr) const override;

 private:
  double beta_0_;
  double beta_1_;
};

/// alpha as LinearBetaVp, sigma = 1 - alpha^2 = -expm1(-B) (2011.13456, eq. 29).
class SubVp : public Schedule {
 public:
  SubVp(double beta_0, double beta_1, double t_min, double t_max);
  torch::Tensor log_alpha(const torch::Tensor& t) const override;
  torch::Tensor log_snr(const torch::Tensor& t) const override;
  torch::Tensor d_log_alpha(const torch::Tensor& t) const override;
  torch::Tensor d_log_snr(const torch::Tensor& t) const override;
  torch::Tensor time_of(const torch::Tensor& log_snr) const override;

 private:
  double beta_0_;
  double beta_1_;
};

/// alpha = cos(k (t + o)) / cos(k o), k = pi / 2 / (1 + o), o = 0.008 (Nichol & Dhariwal 2021,
/// 2102.09672, eq. 17); sigma^2 = sin(k t) sin(k (t + 2 o)) / cos^2(k o). o = 0 is vp_tan, the
/// COSINE schedule of 2403.11262.
class CosineVp : public Schedule {
 public:
  CosineVp(double offset, double t_min, double t_max);
  torch::Tensor log_alpha(const torch::Tensor& t) const override;
  torch::Tensor log_snr(const torch::Tensor& t) const override;
  torch::Tensor d_log_alpha(const torch::Tensor& t) const override;
  torch::Tensor d_log_snr(const torch::Tensor& t) const override;
  torch::Tensor time_of(const torch::Tensor& log_snr) const override;

 private:
  double offset_;
  double k_;
};

/// log_snr = -(gamma_min + (gamma_max - gamma_min) t), alpha^2 = sigmoid(log_snr)
/// (VDM, 2107.00630, app. H).
class LinearLogSnrVp : public Schedule {
 public:
  LinearLogSnrVp(double gamma_min, double gamma_max, double t_min, double t_max);
  torch::Tensor log_alpha(const torch::Tensor& t) const override;
  torch::Tensor log_snr(const torch::Tensor& t) const override;
  torch::Tensor d_log_alpha(const torch::Tensor& t) const override;
  torch::Tensor d_log_snr(const torch::Tensor& t) const override;
  torch::Tensor time_of(const torch::Tensor& log_snr) const override;

 private:
  double gamma_min_;
  double slope_;
};

/// alpha = 1, sigma = sigma_min (sigma_max / sigma_min)^t (2011.13456, eq. 30). Prior
/// N(0, sigma_max^2 I).
class VeGeometric : public Schedule {
 public:
  VeGeometric(double sigma_min, double sigma_max, double t_min, double t_max);
  torch::Tensor log_alpha(const torch::Tensor& t) const override;
  torch::Tensor log_snr(const torch::Tensor& t) const override;
  torch::Tensor d_log_alpha(const torch::Tensor& t) const override;
  torch::Tensor d_log_snr(const torch::Tensor& t) const override;
  torch::Tensor time_of(const torch::Tensor& log_snr) const override;
  double prior_variance() const override { return sigma_max_ * sigma_max_; }

 private:
  double log_sigma_min_;
  double log_ratio_;
  double sigma_max_;
};

/// alpha = 1, sigma = t: time is the noise itself and runs in [sigma_min, sigma_max], not in [0, 1]
/// (Karras et al. 2022, 2206.00364, sec. 4). Prior N(0, sigma_max^2 I).
class Edm : public Schedule {
 public:
  Edm(double sigma_max, double t_min, double t_max);
  torch::Tensor log_alpha(const torch::Tensor& t) const override;
  torch::Tensor log_snr(const torch::Tensor& t) const override;
  torch::Tensor d_log_alpha(const torch::Tensor& t) const override;
  torch::Tensor d_log_snr(const torch::Tensor& t) const override;
  torch::Tensor time_of(const torch::Tensor& log_snr) const override;
  double prior_variance() const override { return sigma_max_ * sigma_max_; }

 private:
  double sigma_max_;
};

/// alpha = 1 - t, sigma = t (flow matching, Lipman et al. 2023, 2210.02747; i-DODE's
/// SP, 2305.03935).
class Flow : public Schedule {
 public:
  Flow(double t_min, double t_max);
  torch::Tensor log_alpha(const torch::Tensor& t) const override;
  torch::Tensor log_snr(const torch::Tensor& t) const override;
  torch::Tensor d_log_alpha(const torch::Tensor& t) const override;
  torch::Tensor d_log_snr(const torch::Tensor& t) const override;
  torch::Tensor time_of(const torch::Tensor& log_snr) const override;
};

}  // namespace scorenet::diffusion
