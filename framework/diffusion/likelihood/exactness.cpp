#include "framework/diffusion/likelihood/exactness.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <sstream>

namespace scorenet::diffusion {
namespace {

constexpr int64_t kNumbersShown = 4;
// Who names steps or tolerances has chosen their error; beyond this it is no longer the model's
// value that is seen.
constexpr double kChosenError = 1e-4;

std::string example_string(const torch::Tensor& x, int64_t row) {
  const auto numbers = x[row].to(torch::kCPU, torch::kFloat64).flatten();
  std::ostringstream text;
  text << "x = (";
  for (int64_t i = 0; i < std::min(numbers.numel(), kNumbersShown); ++i)
    text << (i ? ", " : "") << numbers[i].item<double>();
  text << (numbers.numel() > kNumbersShown ? ", ...)" : ")");
  return text.str();
}

// The share of the difference that is the first rule's error: of order four, half the steps have 16
// times the error.
double error_share(const SolverPrecision& precision) {
  if (precision.steps == 0) return 1;
  return precision.steps == 1 ? 16.0 / 15 : 1.0 / 15;
}

// Relative error of the values, (B).
torch::Tensor error_of(const torch::Tensor& values, const torch::Tensor& second,
                       const SolverPrecision& precision) {
  return error_share(precision) * (values - second).abs() / (1 + values.abs());
}

// Where it is too large; written so that a NaN of the second rule is a disagreement.
torch::Tensor disagreeing(const torch::Tensor& values, const torch::Tensor& error, double allowed) {
  return torch::isfinite(values) & error.le(allowed).logical_not();
}

}  // namespace

double exact_error(torch::ScalarType type) { return type == torch::kFloat64 ? kExactError : 1e-4; }

double allowed_error(const SolverPrecision& precision, torch::ScalarType type) {
  if (precision.steps > 0) return std::max(kChosenError, exact_error(type));
  // Local errors add up and grow along the path: a thousandfold is what the default tolerance of
  // 1e-9 leaves room for.
  const double chosen = 1e3 * std::max(precision.rtol, precision.atol);
  return std::max(exact_error(type), std::min(chosen, kChosenError));
}

void refuse_exact(const std::string& what, double by, double allowed, const torch::Tensor& x,
                  int64_t row, const std::string& because) {
  std::ostringstream sentence;
  sentence << "--exact: " << what << " by " << by << " (" << allowed
           << " is allowed) for the example " << example_string(x, row) << "; " << because
           << ". Leave out --exact.";
  throw ConfigError(sentence.str());
}

SolverPrecision SolverPrecision::second() const {
  if (steps == 1) return {2, rtol, atol};
  return {steps / 2, 10 * rtol, 10 * atol};
}

bool agree(const torch::Tensor& values, const torch::Tensor& second,
           const SolverPrecision& precision, torch::ScalarType type) {
  return !disagreeing(values, error_of(values, second, precision), allowed_error(precision, type))
              .any()
              .item<bool>();
}

void require_agreement(const std::string& quantity, const torch::Tensor& values,
                       const torch::Tensor& second, const SolverPrecision& precision,
                       const torch::Tensor& x) {
  if (agree(values, second, precision, x.scalar_type())) return;
  const double allowed = allowed_error(precision, x.scalar_type());
  const auto error = error_of(values, second, precision);
  const auto differ = disagreeing(values, error, allowed);
  const auto size = error.nan_to_num(1e300).masked_fill(differ.logical_not(), -1.0);
  const auto row = size.argmax().item<int64_t>();
  const bool fixed = precision.steps > 0;
  const std::string what =
      fixed ? std::to_string(precision.steps) + " and " + std::to_string(precision.second().steps) +
                  " steps leave " + quantity + " uncertain (relative)"
            : "two tolerances of the solver change " + quantity + " (relative)";
  refuse_exact(
      what, error[row].item<double>(), allowed, x, row,
      fixed ? "give more --steps, or none for adaptive ones" : "the path is too sensitive for it");
}

void require_levels(const torch::Tensor& wanted, const torch::Tensor& found) {
  constexpr double kAllowed = 1e-6;
  const auto gap = (found - wanted).abs() / (1 + wanted.abs());
  if (gap.numel() == 0 || gap.max().item<double>() <= kAllowed) return;
  const auto worst = gap.argmax().item<int64_t>();
  std::ostringstream sentence;
  sentence
      << "the schedule has no time of log_snr " << wanted[worst].item<double>()
      << ", the nearest has " << found[worst].item<double>()
      << ": it rises too steeply there for float64 to integrate over it. Use an earlier snapshot, "
         "or train with another schedule.";
  throw ConfigError(sentence.str());
}

}  // namespace scorenet::diffusion
