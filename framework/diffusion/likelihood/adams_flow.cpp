#include "framework/diffusion/likelihood/adams_flow.hpp"

#include <ATen/ATen.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <string>
#include <vector>

#include "framework/core/check.hpp"
#include "framework/core/error.hpp"
#include "framework/diffusion/likelihood/exactness.hpp"

namespace scorenet::diffusion {
namespace {

constexpr size_t kPredictorValues = 3;

// int_0^1 u^power exp(-rate u) du, by the series of exp, which converges for any rate; |rate| is
// half a step in log-SNR.
double moment(size_t power, double rate) {
  double term = 1, sum = 0;
  for (int n = 0; n < 200; ++n) {
    const double part = term / static_cast<double>(power + 1 + static_cast<size_t>(n));
    sum += part;
    if (std::abs(part) < 1e-17 * std::abs(sum)) break;
    term *= -rate / (n + 1);
  }
  return sum;
}

// w with sum_j w_j p(nodes_j) = int_0^1 p(u) exp(-rate u) du for every polynomial p of a degree
// below the number of nodes.
std::vector<double> weights(const std::vector<double>& nodes, double rate) {
  const auto count = static_cast<int64_t>(nodes.size());
  torch::Tensor powers = torch::empty({count, count}, torch::kFloat64);
  torch::Tensor moments = torch::empty({count}, torch::kFloat64);
  for (int64_t k = 0; k < count; ++k) {
    for (int64_t j = 0; j < count; ++j)
      powers[k][j] = std::pow(nodes[static_cast<size_t>(j)], static_cast<double>(k));
    moments[k] = moment(static_cast<size_t>(k), rate);
  }
  const torch::Tensor solved = at::linalg_solve(powers, moments);
  return {solved.const_data_ptr<double>(), solved.const_data_ptr<double>() + count};
}

// The rules of a step that knows so many values, the newest first; with the value at its end, that
// is the first.
struct StepRules {
  std::vector<double> predictor, corrector, volume;

  StepRules(size_t known, double step) {
    std::vector<double> nodes;  // in steps from the step's beginning
    for (size_t j = 0; j < known; ++j) nodes.push_back(-static_cast<double>(j));
    predictor = weights(nodes, step / 2);
    nodes.insert(nodes.begin(), 1);
    corrector = weights(nodes, step / 2);
    volume = weights(nodes, 0);
  }
};

template <class Values>
torch::Tensor weighted(const std::vector<double>& rule, const Values& values) {
  torch::Tensor sum = values[0] * rule[0];
  for (size_t j = 1; j < rule.size(); ++j) sum = torch::add(sum, values[j], rule[j]);
  return sum;
}

}  // namespace

FlowEnd adams_flow(const EpsField& field, const Schedule& schedule, const torch::Tensor& rows,
                   const torch::Tensor& x, int64_t steps) {
  if (steps < 1)
    throw ConfigError("adams: " + std::to_string(steps) + " steps; there must be at least 1.");
  const LogSnrRange range = log_snr_range(schedule);
  const double step = (range.noisy - range.clean) / static_cast<double>(steps);
  const auto log_snr = [&](int64_t i) {
    return i == steps ? range.noisy : range.clean + static_cast<double>(i) * step;
  };
  std::deque<torch::Tensor> eps, volumes;  // at the last grid points, the newest first
  const auto evaluate = [&](const torch::Tensor& y, const FlowLevel& at) {
    EpsDivergence value = field(rows, broadcast_to_batch(at.level.alpha, y) * y, at.level);
    volumes.push_front(-at.half_sigma * value.divergence);
    eps.push_front(std::move(value.eps));
  };
  const auto level = [&](int64_t i) {
    return flow_level(schedule, torch::full({x.size(0)}, log_snr(i), x.options()));
  };

  FlowLevel at = level(0);
  const torch::Tensor log_alpha = at.level.alpha.log();
  torch::Tensor y = x / broadcast_to_batch(at.level.alpha, x);
  torch::Tensor volume = torch::zeros_like(log_alpha);
  evaluate(y, at);
  for (int64_t i = 0; i < steps; ++i) {
    const StepRules rules(std::min(kPredictorValues, eps.size()), step);
    const double scale = -step / 2 * std::exp(-log_snr(i) / 2);
    at = level(i + 1);
    evaluate(torch::add(y, weighted(rules.predictor, eps), scale), at);
    y = torch::add(y, weighted(rules.corrector, eps), scale);
    volume = torch::add(volume, weighted(rules.volume, volumes), step);
    if (eps.size() > kPredictorValues) {
      eps.pop_back();
      volumes.pop_back();
    }
  }
  const auto dims = static_cast<double>(dims_per_example(x));
  return {broadcast_to_batch(at.level.alpha, y) * y,
          volume + dims * (at.level.alpha.log() - log_alpha)};
}

}  // namespace scorenet::diffusion
