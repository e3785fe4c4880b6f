#include "framework/diffusion/preconditioning.hpp"

#include "framework/core/check.hpp"

namespace scorenet::diffusion {

torch::Tensor input_scale(const Parametrisation& parametrisation, const NoiseLevel& level) {
  const bool edm = parametrisation.prediction == Prediction::F;
  const double signal = edm ? parametrisation.sigma_data * parametrisation.sigma_data : 1.0;
  return (level.sigma.square() + signal * level.alpha.square()).rsqrt();
}

torch::Tensor predict(const Network& network, const Parametrisation& parametrisation,
                      const torch::Tensor& x_t, const NoiseLevel& level) {
  const auto c_in = input_scale(parametrisation, level).to(x_t.options());
  return network(broadcast_to_batch(c_in, x_t) * x_t, level.log_snr.to(x_t.device()));
}

Denoiser make_denoiser(Network network, const Parametrisation& parametrisation) {
  return [network = std::move(network), parametrisation](const torch::Tensor& x_t,
                                                         const NoiseLevel& level) {
    const auto output = predict(network, parametrisation, x_t, level);
    if (!parametrisation.learned_variance)
      return denoised_from(parametrisation, output, x_t, level);
    const auto parts = output.chunk(2, 1);
    Denoised estimate = denoised_from(parametrisation, parts[0], x_t, level);
    estimate.raw_variance = parts[1];
    return estimate;
  };
}

}  // namespace scorenet::diffusion
