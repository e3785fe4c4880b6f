#include "framework/data/condition_map.hpp"

#include <algorithm>
#include <cctype>

namespace scorenet::data {
namespace {

bool is_name(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-';
  });
}

void check_steps(const ConditionMap& condition, const std::string& key,
                 std::vector<std::string>& out) {
  if (condition.steps.empty()) return;
  if (!condition.is_field()) {
    out.push_back(key + "steps with kind = vector: earlier samples are fields. Set kind = field.");
  }
  std::vector<int64_t> steps = condition.steps;
  std::sort(steps.begin(), steps.end());
  const bool twice = std::adjacent_find(steps.begin(), steps.end()) != steps.end();
  if (steps.back() >= 0 || twice) {
    out.push_back(
        key +
        "steps: expected different whole numbers below 0, such as [-2, -1] for the two samples "
        "before.");
  }
}

void check(const ConditionMap& condition, std::vector<std::string>& out) {
  const std::string key = "condition." + condition.name + ".";
  if (!is_name(condition.name)) {
    out.push_back("[condition." + condition.name +
                  "]: expected a name of letters, digits, _ and -. Rename it.");
  }
  if (condition.of_samples() && condition.steps.empty()) {
    out.push_back(
        key +
        "array is empty. Name the data set that holds the condition, or set steps = [-1] to use "
        "earlier samples.");
  }
  check_steps(condition, key, out);
}

}  // namespace

int64_t history_of(const std::vector<ConditionMap>& conditions) {
  int64_t history = 0;
  for (const ConditionMap& condition : conditions)
    for (const int64_t step : condition.steps) history = std::max(history, -step);
  return history;
}

std::vector<std::string> problems(const std::vector<ConditionMap>& conditions) {
  std::vector<std::string> out;
  for (const ConditionMap& condition : conditions) check(condition, out);
  return out;
}

}  // namespace scorenet::data
