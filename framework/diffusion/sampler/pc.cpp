// At each t, M corrector steps and then one predictor step:
//
//     corrector   z  += e q + sqrt(2 e) n,   e = 2 al (r |n| / |q|)^2,   q the score,   al = A^2
//     predictor   z_s = (2 - A) z + V q + sqrt(V) n
//
// A = a_t / a_s and V = s_t^2 - A^2 s_s^2 = -expm1(gamma_s - gamma_t) s_t^2 are the forward step's
// own scale and variance, so one formula serves every schedule: A = sqrt(1 - beta_i), V = beta_i is
// score_sde's VP, A = 1 its VE.
#include <ATen/ATen.h>

#include <cmath>

#include "framework/core/check.hpp"
#include "framework/diffusion/sampler/methods.hpp"

namespace scorenet::diffusion {
namespace {

torch::Tensor norms(const torch::Tensor& batch, const NormAverage& average) {
  const torch::Tensor each = batch.flatten(1).norm(2, {1});
  return average ? average(each) : each;
}

}  // namespace

torch::Tensor sample_predictor_corrector(SamplerRun& run, const Grid& grid, torch::Tensor x) {
  const SamplerOptions& options = run.options;
  int64_t draw = 0;
  for (size_t i = 0; i + 1 < grid.size(); ++i) {
    const GridPoint &t = grid[i], &s = grid[i + 1];
    const double scale = t.alpha / s.alpha;
    const double variance = -std::expm1(t.log_snr - s.log_snr) * t.sigma * t.sigma;
    const auto score = [&](const torch::Tensor& z) { return run.denoiser(z, t).eps / -t.sigma; };

    for (int64_t correction = 0; correction < options.corrector_steps; ++correction) {
      const torch::Tensor q = score(x);
      const torch::Tensor n = run.noise(draw++);
      // In this order on every rank: the averages may be collective.
      const torch::Tensor noise_norm = norms(n, options.norm_average);
      const torch::Tensor score_norm = norms(q, options.norm_average);
      const torch::Tensor ratio = options.corrector_snr * noise_norm / score_norm;
      const torch::Tensor step = broadcast_to_batch(2 * scale * scale * ratio.square(), x);
      x = x + step * q + (2 * step).sqrt() * n;
    }
    x = (2 - scale) * x + variance * score(x) + std::sqrt(variance) * run.noise(draw++);
  }
  return x;
}

}  // namespace scorenet::diffusion
