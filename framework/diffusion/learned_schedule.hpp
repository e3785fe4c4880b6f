// vdm_learned: a monotone network for gamma(t) = -log_snr, its end points pinned, its inside trained to lower the variance.
//
//     raw(t) = w t + 1/H sum_j c_j sigmoid(a_j (2 t - 1) + b_j),    w, a_j, c_j > 0 (softplus of the parameters)
//     gamma(t) = gamma_min + (gamma_max - gamma_min) (raw(t) - raw(0)) / (raw(1) - raw(0))
// (VDM, Kingma et al. 2021, 2107.00630, app. H: the same two branches; without the second line the end points drift). The
// mean of the diffusion term does not depend on gamma between its ends, so gamma can only lower the variance of its
// estimate (app. I): with L the one-draw loss, d E[L^2] = E[2 L dL]. That gradient reaches gamma alone, through ScheduleTap:
//     ScheduleTap tap(schedule, t, 1 / p(t));
//     loss = tapped_loss_per_example(network, parametrisation, tap, x0, eps);
//     loss.mean().backward();             the network's gradients, as ever
//     tap.add_variance_gradient(loss);    the schedule's
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/parametrisation.hpp"
#include "framework/diffusion/schedule.hpp"
#include "framework/diffusion/time_sampler.hpp"

namespace scorenet::diffusion {

/// gamma and its slope, as differentiable functions of the parameters; float64 values from float32 parameters.
class MonotoneGamma : public torch::nn::Module {
 public:
  /// Starts as a nearly straight line, without random numbers. Throws ConfigError unless gamma_min < gamma_max, hidden >= 1.
  MonotoneGamma(double gamma_min, double gamma_max, int64_t hidden = 1024);

  struct Value {
    torch::Tensor gamma;  // (B)
    torch::Tensor slope;  // (B), d gamma / dt > 0
  };
  /// t: (B) float64 in [0, 1]. gamma(0) and gamma(1) are gamma_min and gamma_max whatever the parameters.
  Value forward(const torch::Tensor& t);

  double gamma_min() const { return gamma_min_; }
  double gamma_max() const { return gamma_max_; }

 private:
  double gamma_min_;
  double gamma_max_;
  torch::Tensor line_;    // (1): w
  torch::Tensor steep_;   // (H): a
  torch::Tensor bias_;    // (H): b
  torch::Tensor height_;  // (H): c
};

/// alpha^2 = sigmoid(-gamma). All values are detached: gradients flow through a ScheduleTap and nowhere else.
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

/// gamma and its slope at the drawn times, cut out of the graph so that their gradients can be rescaled.
class ScheduleTap {
 public:
  ScheduleTap(const LearnedSchedule& schedule, const TimeSample& times);

  /// alpha, sigma, log_snr as functions of the cut-out gamma.
  NoiseLevel level() const;
  /// gamma' / (2 p(t)): the elbo weight on |eps - eps_hat|^2, (B).
  torch::Tensor eps_weight() const;
  /// After loss.mean().backward(): adds mean_i(2 L_i dL_i) to the gradients of the schedule's parameters.
  /// loss: (B), as tapped_loss_per_example returned it. Throws ShapeError if it is not (B).
  void add_variance_gradient(const torch::Tensor& loss) const;

 private:
  MonotoneGamma::Value attached_;
  torch::Tensor gamma_;
  torch::Tensor slope_;
  torch::Tensor inverse_density_;
};

/// The one-draw diffusion term L in nats, (B) float64: differentiable in the network and in the tap's gamma.
torch::Tensor tapped_loss_per_example(const Network& network,
                                      const Parametrisation& parametrisation,
                                      const ScheduleTap& tap, const torch::Tensor& x0,
                                      const torch::Tensor& eps);

}  // namespace scorenet::diffusion
