// In log-SNR the right-hand side stays bounded at both ends: dt / d log_snr takes up the 1 / sigma
// of the score.
#include <ATen/ATen.h>

#include "framework/core/check.hpp"
#include "framework/core/error.hpp"
#include "framework/diffusion/ode_solver.hpp"
#include "framework/diffusion/rows_of_batch.hpp"
#include "framework/diffusion/sampler/methods.hpp"

namespace scorenet::diffusion {

SampleResult sample_ode(SamplerRun& run, const torch::Tensor& x_start) {
  const Schedule& schedule = run.schedule;
  const Grid ends = time_grid(schedule, 1, "uniform");
  std::vector<int64_t> shape = x_start.sizes().vec();
  shape[0] = -1;

  const Denoiser counted = [&](const torch::Tensor& x, const NoiseLevel& level) {
    return run.denoiser.at(x, level);
  };
  // Examples that have finished are no longer among the rows.
  const auto of_rows = [&](const torch::Tensor& rows) {
    const int64_t batch = run.options.whole_batch ? x_start.size(0) : rows.numel();
    return denoiser_of_rows(counted, rows, batch);
  };
  const OdeRhs rhs = [&](const torch::Tensor& rows, const torch::Tensor& log_snr,
                         const torch::Tensor& y) {
    const torch::Tensor t = schedule.time_of(log_snr);
    const NoiseLevel level = schedule.at(t);
    const torch::Tensor x = y.view(shape);
    const torch::Tensor f = broadcast_to_batch(schedule.d_log_alpha(t) / schedule.d_log_snr(t), x);
    const torch::Tensor eps = of_rows(rows)(x, level).eps;
    return (f * x - broadcast_to_batch(level.sigma / 2, x) * eps).flatten(1);
  };
  const OdeOptions options = with_tolerances(run.options.rtol, run.options.atol);
  const OdeSolution solution =
      dormand_prince(rhs, ends.front().log_snr, ends.back().log_snr, x_start.flatten(1), options);
  const auto failed = solution.failed.sum().item<int64_t>();
  if (failed > 0) {
    throw NotFiniteError(
        "sampler ode: the solver failed on " + std::to_string(failed) + " of " +
        std::to_string(x_start.size(0)) +
        " examples. Loosen the tolerance or check the network for non-finite values.");
  }
  return {solution.y.view_as(x_start),
          solution.evaluations.to(torch::kFloat64).mean().item<double>()};
}

}  // namespace scorenet::diffusion
