#include "framework/diffusion/loss_history.hpp"

#include <string>

#include "framework/core/check.hpp"

namespace scorenet::diffusion {
namespace {

constexpr int64_t kKept = 10;
constexpr double kUniformShare = 0.001;

}  // namespace

LossHistory make_loss_history(int64_t steps) {
  if (steps < 1) {
    throw ConfigError("loss history: T = " + std::to_string(steps) + ", expected at least 1.");
  }
  return {torch::zeros({steps, kKept}, torch::kFloat64), torch::zeros({steps}, torch::kInt64)};
}

void record_losses(LossHistory& history, const torch::Tensor& steps, const torch::Tensor& losses) {
  check_same_shape(steps, losses, "loss history: steps and losses");
  auto ring = history.losses.accessor<double, 2>();
  auto counts = history.counts.accessor<int64_t, 1>();
  const auto step = steps.to(torch::kInt64).contiguous();
  const auto loss = losses.detach().to(torch::kFloat64).contiguous();
  for (int64_t i = 0; i < step.size(0); ++i) {
    const int64_t row = step.data_ptr<int64_t>()[i] - 1;
    ring[row][counts[row]++ % kKept] = loss.data_ptr<double>()[i];
  }
}

torch::Tensor step_probabilities(const LossHistory& history) {
  const auto uniform = torch::full_like(history.losses.select(1, 0),
                                        1.0 / static_cast<double>(history.losses.size(0)));
  if (history.counts.min().item<int64_t>() < kKept) return uniform;
  const auto root = history.losses.square().mean(1).sqrt();
  const auto total = root.sum();
  if (!(total.item<double>() > 0)) return uniform;
  return (1.0 - kUniformShare) * root / total + kUniformShare * uniform;
}

StepSample draw_steps(const LossHistory& history, const torch::Tensor& positions) {
  const auto p = step_probabilities(history);
  const int64_t steps = p.size(0);
  const auto upper = p.cumsum(0);
  const auto index =
      torch::searchsorted(upper, positions.contiguous(), false, true).clamp_max(steps - 1);
  const auto share = p.index_select(0, index);
  const auto fraction =
      1.0 - ((upper.index_select(0, index) - positions) / share).clamp(1e-15, 1.0);
  return {index + 1, (static_cast<double>(steps) * share).reciprocal(), fraction};
}

}  // namespace scorenet::diffusion
