// Guidance: denoisers in, a denoiser out.
//
// All rules shift the score. At fixed x_t, score, eps and x0 are affine in one another, so one rule
// serves all three (q is any of them):
//
//     classifier-free   q_u + w (q_c - q_u)          w = 1 is conditional (the paper's w + 1)
//     autoguidance      q_weak + w (q - q_weak)      w = 1 is the model itself
//     classifier        q + w grad log p(c | x_t)    on the score
//     interval          guided inside a range of log-SNR, plain outside
//
// Sources, in this order: Ho & Salimans 2022, 2207.12598; Karras et al. 2024, 2406.02507; Dhariwal
// & Nichol 2021, 2105.05233, with Luo 2022, 2208.11970, eq. 167; Kynkaanniemi et al. 2024,
// 2404.07724. A guided denoiser costs one evaluation of each denoiser in it.
#pragma once

#include <torch/types.h>

#include <functional>

#include "framework/diffusion/denoiser.hpp"

namespace scorenet::diffusion {

/// unconditional + weight (conditional - unconditional): 0 is unconditional, 1 conditional,
/// above 1 sharpened.
Denoiser classifier_free_guidance(Denoiser unconditional, Denoiser conditional, double weight);

/// weak + weight (strong - weak): 1 is the strong model; above 1 the result moves away from the
/// weak model's errors.
Denoiser autoguidance(Denoiser strong, Denoiser weak, double weight);

/// `guided` where log_snr_low <= log_snr <= log_snr_high, `plain` elsewhere. A denoiser that no
/// example of the batch needs is not evaluated. Throws ConfigError unless
/// log_snr_low < log_snr_high.
Denoiser guidance_interval(Denoiser guided, Denoiser plain, double log_snr_low,
                           double log_snr_high);

/// grad of log p(class | x_t) in x_t: (x_t (B, ...), level) -> x_t's shape.
using ClassGradient =
    std::function<torch::Tensor(const torch::Tensor& x_t, const NoiseLevel& level)>;

/// eps - weight sigma grad, x0 + weight sigma^2 / alpha grad.
Denoiser classifier_guidance(Denoiser denoiser, ClassGradient gradient, double weight);

/// A classifier of noisy data: (x_t (B, ...), level) -> logits (B, classes).
using NoisyClassifier =
    std::function<torch::Tensor(const torch::Tensor& x_t, const NoiseLevel& level)>;

/// A raw network as a classifier: network(x_t / sqrt(alpha^2 + sigma^2), log_snr). What the network
/// sees depends on log_snr alone. So a network trained under one schedule works under every other
/// schedule, within its range of log-SNR.
NoisyClassifier scaled_classifier(Network network);

/// The gradient of log softmax(logits)[labels] by autograd, also where the caller records no
/// gradient. labels: (B) int64, one for each row of every batch that it is called with.
ClassGradient class_gradient(NoisyClassifier classifier, torch::Tensor labels);

}  // namespace scorenet::diffusion
