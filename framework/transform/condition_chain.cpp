#include "framework/transform/condition_chain.hpp"

#include <charconv>
#include <cmath>
#include <numbers>
#include <sstream>

#include "framework/core/check.hpp"

namespace scorenet::transform {
namespace {

constexpr const char* kAngle = "angle(";

bool is_angle(const std::string& entry) { return entry.starts_with(kAngle); }

// Throws ConfigError. where: "condition.time.transforms[1]".
double period_of(const std::string& entry, const std::string& where) {
  const char* const begin = entry.data() + std::string(kAngle).size();
  const char* const end = entry.data() + entry.size() - 1;
  double period = 0;
  const auto read = std::from_chars(begin, std::max(begin, end), period);
  const bool whole = entry.ends_with(')') && read.ec == std::errc() && read.ptr == end;
  if (whole && std::isfinite(period) && period > 0) return period;
  throw ConfigError(where + " = \"" + entry +
                    "\": expected angle(period) with a period above 0, such as angle(8760) for the "
                    "hours of a year.");
}

std::vector<std::string> without_angle(std::vector<std::string> entries) {
  if (!entries.empty() && is_angle(entries.back())) entries.pop_back();
  return entries;
}

std::string place_of(const std::string& key, size_t i) {
  return key + "[" + std::to_string(i) + "]";
}

void check_finite_values(const torch::Tensor& values, const torch::Tensor& observed,
                         const Source& source) {
  const double* const x = values.const_data_ptr<double>();
  const bool* const there = observed.defined() ? observed.const_data_ptr<bool>() : nullptr;
  const int64_t each = values.numel() / std::max<int64_t>(values.size(0), 1);
  for (int64_t i = 0; i < values.numel(); ++i) {
    if (std::isfinite(x[i]) || (there && !there[i])) continue;
    throw DataError(
        source.where + ": sample " +
        std::to_string(source.indices.at(static_cast<size_t>(i / each))) +
        " holds a NaN or an infinity, but a condition must be finite. Remove or repair it.");
  }
}

}  // namespace

ConditionChain::ConditionChain(const std::vector<std::string>& entries, const std::string& missing,
                               const std::string& key)
    : chain_(without_angle(entries), missing, key) {
  if (!entries.empty() && is_angle(entries.back()))
    period_ = period_of(entries.back(), place_of(key, entries.size() - 1));
}

torch::Tensor ConditionChain::forward(const torch::Tensor& stored, const Source& source) const {
  const NetworkValues values = chain_.forward(stored, source);
  check_finite_values(values.x, values.observed, source);
  if (!period_) return values.x;
  const torch::Tensor angle = values.x * (2 * std::numbers::pi / *period_);
  return torch::cat({angle.cos(), angle.sin()}, 1);
}

std::vector<std::string> condition_problems(const std::vector<std::string>& entries,
                                            const std::string& key) {
  std::vector<std::string> all = problems_of(without_angle(entries), key);
  for (const std::string& name : conditions_of(entries)) {
    all.push_back(key + ": divide(" + name +
                  ") is only for data.transforms, not for a condition. Leave it out.");
  }
  if (entries.empty() || !is_angle(entries.back())) return all;
  try {
    period_of(entries.back(), place_of(key, entries.size() - 1));
  } catch (const ConfigError& error) {
    all.emplace_back(error.what());
  }
  return all;
}

}  // namespace scorenet::transform
