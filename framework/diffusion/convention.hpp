// Conventions of networks from elsewhere: exact maps from (x_t, log_snr) to what such a network
// expects, and from what it returns to x0_hat and eps_hat.
//
// With l = log_snr, a^2 = sigmoid(l), s^2 = sigmoid(-l), r = s / a = exp(-l / 2) (the noise where
// the data keep their size), and x = a x0 + s eps, which is x_t / sqrt(alpha^2 + sigma^2):
//
//     convention  level                      input           output            schedule
//     ddpm        step: index into a table   x               eps               vp_linear
//     adm         step                       x               eps, variance     vp_linear
//     dit         step                       x               eps, variance     vp_linear
//     edm         sigma: r                   x / a           x0                edm
//     vdm         gamma: -l                  x               eps               vdm_linear
//     flow        1-t: 1 - s / (a + s)       x / (a + s)     velocity          flow
//     score_sde   999t: 999 time_of(l)       x or subvp's    eps               vp_linear, subvp
//     score_sde   sigma                      x / a           score             ve
//
//     input_scaling  c: the network sees c x
//     vp             1                                      a^2 + s^2 = 1; also x_ve / sqrt(1+r^2)
//     ve             1 / a                                  x0 + r eps
//     edm            1 / sqrt(s^2 + a^2 sigma_data^2)       c_in of x0 + r eps
//     flow           1 / (a + s)                            (1 - t) x0 + t eps
//     subvp          exp(-asinh(r / 2)) / a                 alpha = exp(-B/2), r = 2 sinh(B/2)
//
//     output          x0                                     eps
//     x0              out                                    (x - a out) / s
//     eps             (x - s out) / a                        out
//     v               a x - s out                            s x + a out
//     score           (x - s eps) / a                        -c s out; of edm's input: -r out
//     F               k^2 a x / N + s k out / sqrt(N)        s x / N - a k out / sqrt(N)
//     velocity        (x + s out) / (a + s)                  (x - a out) / (a + s)
//     noise_velocity  velocity of -out
//
// with k = sigma_data and N = s^2 + k^2 a^2. Sources: ddpm 2006.11239; adm 2105.05233; dit
// 2212.09748; edm 2206.00364, eq. 7; vdm 2107.00630; flow 2210.02747 (time from noise to data,
// velocity x0 - eps; rectified flow's is noise_velocity); score_sde 2011.13456, app. C.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "framework/diffusion/convention_options.hpp"
#include "framework/diffusion/parametrisation.hpp"
#include "framework/diffusion/schedule.hpp"

namespace scorenet::diffusion {

class Convention {
 public:
  /// steps: of the level "step". schedule: of the config, whose time and betas levels may need.
  /// Throws ConfigError for an unknown word, or one that is missing.
  Convention(const ConventionOptions& options, const DiscreteSteps& steps,
             const ScheduleOptions& schedule, double sigma_data);

  /// forward's second argument: log_snr (B) -> (B) float64.
  torch::Tensor level(const torch::Tensor& log_snr) const;
  /// c: log_snr (B) -> (B) float64. The network sees c x, with x of unit signal and noise power.
  torch::Tensor input_scale(const torch::Tensor& log_snr) const;
  /// Both estimates. x, output: (B, ...) of one shape; log_snr (B). Returns x's shape and dtype.
  Denoised denoised(const torch::Tensor& output, const torch::Tensor& x,
                    const torch::Tensor& log_snr) const;
  /// The output in the meaning of `prediction`, under the schedule of that name; where the two are
  /// the same, untouched.
  torch::Tensor as(Prediction prediction, const torch::Tensor& output, const torch::Tensor& x,
                   const torch::Tensor& log_snr) const;
  /// sqrt(alpha^2 + sigma^2) of the config's schedule, (B) float64.
  torch::Tensor schedule_scale(const torch::Tensor& log_snr) const;

  bool learned_variance() const { return words_.variance == "learned"; }
  bool one_hot() const { return words_.label_form == "one_hot"; }
  double sigma_data() const { return sigma_data_; }
  const ConventionOptions& words() const { return words_; }
  /// "level sigma, input ve, output x0"
  std::string describe() const;

 private:
  ConventionOptions words_;
  double sigma_data_;
  std::string schedule_;
  std::shared_ptr<const Schedule> timed_;  // whose time the level is; null where it is none
  torch::Tensor table_;                    // -log_snr of the numbered steps; or undefined
};

}  // namespace scorenet::diffusion
