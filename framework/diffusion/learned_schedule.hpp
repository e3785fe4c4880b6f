// vdm_learned: a monotone network for gamma(t) = -log_snr. Its end points are fixed; its values in
// between are trained to lower the variance of the loss.
//
//     raw(t)   = w t + 1/H sum_j c_j sigmoid(a_j (2 t - 1) + b_j)
//     share(t) = (raw(t) - raw(0)) / (raw(1) - raw(0))
//     gamma(t) = gamma_0 + (gamma_1 - gamma_0) share(t)
// with w, a_j, c_j > 0, the softplus of the parameters (VDM, Kingma et al. 2021, 2107.00630, app.
// H: the same two branches; without the division the end points would move). The mean of the
// diffusion term does not depend on gamma between its ends. So share only changes the variance of
// its estimate (app. I): with L the one-draw loss, d E[L^2] = E[2 L dL]. In the backward pass,
// ScheduleTap multiplies the gradient that reaches share by 2 L. So one backward pass of the mean
// loss gives every parameter the gradient that it needs:
//     ScheduleTap tap(schedule, times);
//     loss = tapped_loss_per_example(network, parametrisation, tap, x0, eps);
//     loss.mean().backward();    network, ends: d E[L];    inside: d E[L^2] / dims
// Fixed ends are numbers. Learned ends follow the gradient of the whole bound, which includes
// end_terms_nats (app. I.2).
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/parametrisation.hpp"
#include "framework/diffusion/schedule.hpp"
#include "framework/diffusion/time_sampler.hpp"

namespace scorenet::diffusion {

/// gamma and its slope, as differentiable functions of the parameters; float64 values
/// from float32 parameters.
class MonotoneGamma : public torch::nn::Module {
 public:
  /// Starts as a nearly straight line, without random numbers. learn_ends: gamma_min and gamma_max
  /// are where the ends start. Throws ConfigError unless gamma_min < gamma_max, hidden >= 1.
  MonotoneGamma(double gamma_min, double gamma_max, int64_t hidden = 1024, bool learn_ends = false);

  struct Value {
    torch::Tensor gamma;  // (B)
    torch::Tensor slope;  // (B), d gamma / dt > 0
  };
  /// t: (B) float64 in [0, 1] on any device; the values are on the same device. With fixed ends,
  /// gamma(0) = gamma_min and gamma(1) = gamma_max for all parameters.
  Value forward(const torch::Tensor& t);

  /// share(t) of the formula above and its slope: (B). Neither depends on the ends.
  struct Share {
    torch::Tensor share;
    torch::Tensor slope;
  };
  Share share(const torch::Tensor& t);
  /// gamma and its slope for a share.
  Value between_ends(const Share& share);

  bool learns_ends() const { return ends_.defined(); }

 private:
  double gamma_min_;
  double gamma_max_;
  torch::Tensor line_;    // (1): w
  torch::Tensor steep_;   // (H): a
  torch::Tensor bias_;    // (H): b
  torch::Tensor height_;  // (H): c
  /// (2) where learned: gamma_0 = gamma_min + e_0, gamma_1 = gamma_0 + (gamma_max - gamma_min)
  /// exp(e_1), so gamma_0 < gamma_1.
  torch::Tensor ends_;
};

/// alpha^2 = sigmoid(-gamma). All values are detached: gradients flow through a ScheduleTap only.
class LearnedSchedule : public Schedule {
 public:
  /// network: shared with the optimiser that trains it.
  LearnedSchedule(std::shared_ptr<MonotoneGamma> network, double t_min, double t_max);

  torch::Tensor log_alpha(const torch::Tensor& t) const override;
  torch::Tensor log_snr(const torch::Tensor& t) const override;
  torch::Tensor d_log_alpha(const torch::Tensor& t) const override;
  torch::Tensor d_log_snr(const torch::Tensor& t) const override;

  /// The module whose parameters the trainer optimises and saves.
  const std::shared_ptr<MonotoneGamma>& network() const { return network_; }

 private:
  std::shared_ptr<MonotoneGamma> network_;
};

/// gamma and its slope at the drawn times. The gradient of share is scaled in the backward pass.
class ScheduleTap {
 public:
  ScheduleTap(const LearnedSchedule& schedule, const TimeSample& times);

  /// alpha, sigma, log_snr as functions of gamma.
  NoiseLevel level() const;
  /// gamma' / (2 p(t)): the elbo weight on |eps - eps_hat|^2, (B).
  torch::Tensor eps_weight() const;
  /// From now on the i-th gradient that reaches share is multiplied by factor[i]. factor:
  /// (B). Throws ShapeError.
  void scale_inside(const torch::Tensor& factor) const;

 private:
  MonotoneGamma::Value value_;
  torch::Tensor inverse_density_;
  std::shared_ptr<torch::Tensor> factor_;  // shared with the hooks
};

/// The one-draw diffusion term L in nats, (B) float64, differentiable in the network and in gamma;
/// sets the tap's factor to 2 L / dims.
torch::Tensor tapped_loss_per_example(const Network& network,
                                      const Parametrisation& parametrisation,
                                      const ScheduleTap& tap, const torch::Tensor& x0,
                                      const torch::Tensor& eps);

/// Prior KL and reconstruction of the bound, (B) float64 in nats, differentiable in learned
/// ends: with the decoder of so many levels at x_0 = alpha_0 x0 + sigma_0 eps, or, of 0 levels, the
/// flat one's mean.
torch::Tensor end_terms_nats(const LearnedSchedule& schedule, int64_t levels,
                             const torch::Tensor& x0, const torch::Tensor& eps);

}  // namespace scorenet::diffusion
