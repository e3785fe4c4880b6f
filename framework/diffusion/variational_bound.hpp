// The three terms of the variational bound on -log p(x0): prior + diffusion + reconstruction.
//
//     -log p(x0) <= KL(q(x_1 given x0) || N(0, P I)) + diffusion + E[-log p(x0 given x_0)]
//
// (VDM, Kingma et al. 2021, 2107.00630, eq. 12; Luo 2022, 2208.11970, eq. 45.) x_0 and x_1 stand at
// t_min and t_max, P is the schedule's prior variance. The diffusion term is in loss.hpp; here are
// the end terms and their sum for training. Decoders p(x0 given x_0), with z = x_0 / alpha_0 = x0 +
// eps / sqrt(snr_0) and snr_0 that of t_min:
//
//     discrete   softmax over the L levels x_k of -1/2 snr_0 (z - x_k)^2, summed over pixels
//     flat       N(x0; z, 1 / snr_0): its mean is D/2 log(2 pi e / snr_0)
//     tweedie    N(x0; x0_hat(x_0), 1 / snr_0): D/2 log(2 pi / snr_0) + 1/2 |eps - eps_hat|^2
//
// discrete is for data of L levels (2107.00630, app. E, with L = 256), the others for continuous
// data. The mean of flat depends neither on x0 nor on the model.
#pragma once

#include <torch/types.h>

#include <string>

#include "framework/core/pixels.hpp"
#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/loss.hpp"

namespace scorenet::diffusion {

/// The three terms of the upper bound on -log p(x0), in nats: each (B) float64.
struct BoundTerms {
  torch::Tensor prior_nats;
  torch::Tensor diffusion_nats;
  torch::Tensor reconstruction_nats;

  torch::Tensor total() const { return prior_nats + diffusion_nats + reconstruction_nats; }
};

struct Decoder {
  enum Kind { discrete, flat, tweedie };

  constexpr Decoder(Kind kind_in, int64_t levels_in = kPixelLevels)  // NOLINT: a kind is a decoder
      : kind(kind_in), levels(levels_in) {}
  constexpr bool operator==(Kind other) const { return kind == other; }

  Kind kind;
  int64_t levels;  // of discrete
};

/// "discrete", "flat", "tweedie". Throws ConfigError that lists them.
Decoder decoder_from_name(const std::string& name);

/// KL(q(x_1 given x0) || N(0, P I)) of each example, (B) float64:
/// 1/2 sum [(alpha_1 x0)^2 / P + r - 1 - log r], r = sigma_1^2 / P.
torch::Tensor prior_nats(const Schedule& schedule, const torch::Tensor& x0);

/// -log p(x0 given x_0) of the discrete decoder at x_0 = alpha_0 x0 + sigma_0 eps, (B) float64. x0,
/// eps: (B, ...). Equal to the softmax over all levels: levels whose share is below float64's
/// precision are skipped. log_snr_0: scalar tensor () float64, differentiable. Throws
/// DataError if x0 is not on the levels, ShapeError.
torch::Tensor discrete_reconstruction_nats(const torch::Tensor& x0, const torch::Tensor& eps,
                                           const torch::Tensor& log_snr_0,
                                           int64_t levels = kPixelLevels);

/// D/2 log(2 pi e / snr_0): the flat decoder's mean.
double flat_reconstruction_nats(int64_t dims, double log_snr_0);

/// The Tweedie decoder at x_0 = alpha_0 x0 + sigma_0 eps, (B) float64. Calls the denoiser once.
torch::Tensor tweedie_reconstruction_nats(const Denoiser& denoiser, const Schedule& schedule,
                                          const torch::Tensor& x0, const torch::Tensor& eps);

/// The reconstruction term of `decoder` for one draw of eps (B, ...), (B) float64.
torch::Tensor reconstruction_nats(Decoder decoder, const Denoiser& denoiser,
                                  const Schedule& schedule, const torch::Tensor& x0,
                                  const torch::Tensor& eps);

/// The training estimate of the bound, all three terms: one time an example for the diffusion term
/// (loss.hpp, elbo weight), eps for it and an independent eps_0 for the reconstruction. With a
/// fixed schedule only the diffusion term (and the Tweedie decoder) has a gradient.
BoundTerms bound_per_example(const Network& network, const Parametrisation& parametrisation,
                             const Schedule& schedule, Decoder decoder, const torch::Tensor& x0,
                             const TimeSample& times, const torch::Tensor& eps,
                             const torch::Tensor& eps_0);

}  // namespace scorenet::diffusion
