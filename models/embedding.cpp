#include "models/embedding.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

#include "framework/core/error.hpp"

namespace scorenet::models {
namespace {

constexpr double kHighestLogSnr = 20.0;
constexpr double kStepsPerNat = 25.0;

}  // namespace

torch::Tensor step_table(const std::vector<double>& log_snr_of_step) {
  const bool falls = std::adjacent_find(log_snr_of_step.begin(), log_snr_of_step.end(),
                                        std::less_equal<double>()) == log_snr_of_step.end();
  if (log_snr_of_step.size() < 2 || !falls) {
    throw ConfigError("model.log_snr_of_step with " + std::to_string(log_snr_of_step.size()) +
                      " entries: must hold at least two and fall from each step to the next.");
  }
  return -torch::tensor(log_snr_of_step, torch::kFloat64);
}

torch::Tensor step_coordinate(const torch::Tensor& log_snr, const torch::Tensor& table) {
  const torch::Tensor position = -log_snr.to(torch::kFloat64);
  // right is the first knot at or above the position, so the pair (right - 1, right) brackets it.
  const torch::Tensor right = torch::searchsorted(table, position).clamp(1, table.size(0) - 1);
  const torch::Tensor low = table.index_select(0, right - 1);
  const torch::Tensor high = table.index_select(0, right);
  const torch::Tensor fraction = ((position - low) / (high - low)).clamp(0.0, 1.0);
  return (right - 1).to(torch::kFloat64) + fraction;
}

torch::Tensor time_coordinate(const torch::Tensor& log_snr,
                              const std::vector<double>& log_snr_of_step) {
  if (log_snr_of_step.empty()) {
    return kStepsPerNat * (kHighestLogSnr - log_snr.to(torch::kFloat64));
  }
  return step_coordinate(log_snr, step_table(log_snr_of_step).to(log_snr.device()));
}

torch::Tensor sinusoidal_embedding(const torch::Tensor& u, const SinusoidOptions& options,
                                   torch::Dtype dtype) {
  const int64_t half = options.dim / 2;
  if (options.dim < 2 || options.dim % 2 != 0) {
    throw ConfigError("a sinusoidal embedding of width " + std::to_string(options.dim) +
                      ": must be even and at least 2.");
  }
  const torch::Tensor exponent = torch::arange(half, u.options().dtype(torch::kFloat64)) /
                                 (static_cast<double>(half) - options.freq_shift);
  const torch::Tensor frequency = torch::exp(-std::log(10000.0) * exponent);
  const torch::Tensor angle = u.to(torch::kFloat64).unsqueeze(1) * frequency;
  const torch::Tensor first = options.cosines_first ? angle.cos() : angle.sin();
  const torch::Tensor second = options.cosines_first ? angle.sin() : angle.cos();
  return torch::cat({first, second}, 1).to(dtype);
}

torch::Tensor append_fourier_features(const torch::Tensor& x,
                                      const std::vector<int64_t>& exponents) {
  std::vector<torch::Tensor> channels{x};
  for (const int64_t n : exponents) {
    const torch::Tensor angle = x * (std::ldexp(1.0, static_cast<int>(n)) * std::numbers::pi);
    channels.push_back(angle.sin());
    channels.push_back(angle.cos());
  }
  return torch::cat(channels, 1);
}

TimeEmbeddingImpl::TimeEmbeddingImpl(int64_t in, int64_t out)
    : linear_1_(register_module("linear_1", torch::nn::Linear(in, out))),
      linear_2_(register_module("linear_2", torch::nn::Linear(out, out))) {}

torch::Tensor TimeEmbeddingImpl::forward(const torch::Tensor& features) {
  return linear_2_(torch::silu(linear_1_(features)));
}

}  // namespace scorenet::models
