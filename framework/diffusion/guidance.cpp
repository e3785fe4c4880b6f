#include "framework/diffusion/guidance.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>
#include <utility>

#include "framework/core/check.hpp"
#include "framework/core/error.hpp"
#include "framework/diffusion/preconditioning.hpp"

namespace scorenet::diffusion {
namespace {

Denoised towards(const Denoised& from, const Denoised& to, double weight) {
  return {from.x0 + weight * (to.x0 - from.x0), from.eps + weight * (to.eps - from.eps),
          to.raw_variance};
}

}  // namespace

Denoiser classifier_free_guidance(Denoiser unconditional, Denoiser conditional, double weight) {
  return [=](const torch::Tensor& x_t, const NoiseLevel& level) {
    return towards(unconditional(x_t, level), conditional(x_t, level), weight);
  };
}

Denoiser autoguidance(Denoiser strong, Denoiser weak, double weight) {
  return [=](const torch::Tensor& x_t, const NoiseLevel& level) {
    return towards(weak(x_t, level), strong(x_t, level), weight);
  };
}

Denoiser guidance_interval(Denoiser guided, Denoiser plain, double log_snr_low,
                           double log_snr_high) {
  if (!(log_snr_low < log_snr_high)) {
    throw ConfigError("guidance interval from log_snr " + std::to_string(log_snr_low) + " to " +
                      std::to_string(log_snr_high) + ": the first must be below the second.");
  }
  return [=](const torch::Tensor& x_t, const NoiseLevel& level) {
    const torch::Tensor inside = (level.log_snr >= log_snr_low) & (level.log_snr <= log_snr_high);
    if (inside.all().item<bool>()) return guided(x_t, level);
    if (!inside.any().item<bool>()) return plain(x_t, level);
    const torch::Tensor mask = broadcast_to_batch(inside, x_t);
    const Denoised a = guided(x_t, level), b = plain(x_t, level);
    // The learned variance is the network's own on either side.
    return Denoised{at::where(mask, a.x0, b.x0), at::where(mask, a.eps, b.eps), b.raw_variance};
  };
}

Denoiser classifier_guidance(Denoiser denoiser, ClassGradient gradient, double weight) {
  return [=](const torch::Tensor& x_t, const NoiseLevel& level) {
    const Denoised plain = denoiser(x_t, level);
    const torch::Tensor shift = weight * gradient(x_t, level);
    const torch::Tensor sigma = broadcast_to_batch(level.sigma, x_t);
    const torch::Tensor alpha = broadcast_to_batch(level.alpha, x_t);
    return Denoised{plain.x0 + sigma.square() / alpha * shift, plain.eps - sigma * shift,
                    plain.raw_variance};
  };
}

NoisyClassifier scaled_classifier(Network network) {
  return [network = std::move(network)](const torch::Tensor& x_t, const NoiseLevel& level) {
    return predict(network, Parametrisation{}, x_t, level);
  };
}

ClassGradient class_gradient(NoisyClassifier classifier, torch::Tensor labels) {
  return [=](const torch::Tensor& x_t, const NoiseLevel& level) {
    const c10::AutoGradMode record(true);
    const torch::Tensor x = x_t.detach().requires_grad_(true);
    const torch::Tensor log_p = at::log_softmax(classifier(x, level), 1);
    const torch::Tensor chosen = log_p.gather(1, labels.unsqueeze(1)).sum();
    return torch::autograd::grad({chosen}, {x})[0].detach();
  };
}

}  // namespace scorenet::diffusion
