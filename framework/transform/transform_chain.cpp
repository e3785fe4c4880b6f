#include "framework/transform/transform_chain.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/transform/numbers.hpp"

namespace scorenet::transform {
namespace {

std::string key_of(const std::string& key, size_t stage) {
  return key + "[" + std::to_string(stage) + "]";
}

// The place of the first true value; -1 if there is none. A plain loop, as in the transforms.
int64_t first_true(const torch::Tensor& mask) {
  const bool* const values = mask.const_data_ptr<bool>();
  for (int64_t i = 0; i < mask.numel(); ++i)
    if (values[i]) return i;
  return -1;
}

// (0, 3, 17) of a place counted along the last axis fastest.
std::string place_string(int64_t place, c10::IntArrayRef example_shape) {
  std::vector<int64_t> axes(example_shape.size());
  for (size_t i = axes.size(); i-- > 0; place /= example_shape[i])
    axes[i] = place % example_shape[i];
  return shape_string(axes);
}

// Of each example, over what is observed.
void add_sums(const torch::Tensor& slopes, const torch::Tensor& observed, torch::Tensor& sums) {
  const int64_t examples = sums.size(0), dims = slopes.numel() / std::max<int64_t>(examples, 1);
  const double* slope = slopes.const_data_ptr<double>();
  const bool* there = observed.defined() ? observed.const_data_ptr<bool>() : nullptr;
  double* const sum = sums.data_ptr<double>();
  for (int64_t i = 0; i < examples; ++i) {
    for (int64_t k = 0; k < dims; ++k, ++slope)
      if (!there || *there++) sum[i] += *slope;
  }
}

void fill_missing(torch::Tensor& x, const torch::Tensor& observed, double value) {
  if (!observed.defined()) return;
  double* const values = x.data_ptr<double>();
  const bool* const there = observed.const_data_ptr<bool>();
  for (int64_t i = 0; i < x.numel(); ++i)
    if (!there[i]) values[i] = value;
}

}  // namespace

std::string state_name(size_t stage, const char* what) {
  return kStatePrefix + std::to_string(stage) + "." + what;
}

TransformChain::TransformChain(const std::vector<std::string>& entries, const std::string& missing,
                               std::string key)
    : key_(std::move(key)), entries_(entries) {
  for (size_t i = 0; i < entries.size(); ++i)
    stages_.push_back(parse_transform(entries[i], key_of(key_, i)));
  if (missing.empty()) return;
  double mark = 0;
  std::from_chars(missing.data(), missing.data() + missing.size(), mark);
  missing_ = mark;
}

bool TransformChain::needs_conditions() const {
  return std::any_of(stages_.begin(), stages_.end(),
                     [](const auto& stage) { return !stage->condition().empty(); });
}

// A mark that the stored type cannot hold is compared as that type would round it.
torch::Tensor TransformChain::observed(const torch::Tensor& stored) const {
  if (!missing_) return {};
  const torch::Tensor x = as_float64(stored);
  const double mark = stored.scalar_type() == torch::kFloat32
                          ? static_cast<double>(static_cast<float>(*missing_))
                          : *missing_;
  torch::Tensor there = torch::empty(x.sizes(), torch::kBool);
  const double* const values = x.const_data_ptr<double>();
  bool* const out = there.data_ptr<bool>();
  for (int64_t i = 0; i < x.numel(); ++i)
    out[i] = std::isnan(mark) ? !std::isnan(values[i]) : values[i] != mark;
  return there;
}

NetworkValues TransformChain::through(size_t stages, const torch::Tensor& stored,
                                      const Source& source, const Conditions& conditions) const {
  const torch::Tensor first = as_float64(stored);
  NetworkValues out{first, observed(stored), torch::zeros({stored.size(0)}, torch::kFloat64)};
  for (size_t i = 0; i < stages; ++i) {
    const Values values{out.x, conditions};
    torch::Tensor outside = stages_[i]->outside(values);
    if (out.observed.defined()) {
      bool* const bad = outside.data_ptr<bool>();
      const bool* const there = out.observed.const_data_ptr<bool>();
      for (int64_t k = 0; k < outside.numel(); ++k) bad[k] = bad[k] && there[k];
    }
    if (const int64_t at = first_true(outside); at >= 0) {
      const int64_t dims = out.x.numel() / out.x.size(0);
      std::ostringstream text;
      text.precision(9);
      text << source.where << ": sample " << source.indices.at(static_cast<size_t>(at / dims))
           << ", place " << place_string(at % dims, out.x.sizes().slice(1)) << ", holds "
           << first.const_data_ptr<double>()[at];
      if (i > 0)
        text << ", " << out.x.const_data_ptr<double>()[at] << " after the earlier transforms";
      text << "; " << name(i) << " expects " << stages_[i]->domain()
           << ". Repair the value, change the transform, or mark it as data.missing.";
      throw DataError(text.str());
    }
    add_sums(stages_[i]->log_slope(values), out.observed, out.log_det);
    out.x = stages_[i]->forward(values);
  }
  return out;
}

NetworkValues TransformChain::forward(const torch::Tensor& stored, const Source& source,
                                      const Conditions& conditions) const {
  NetworkValues out = through(stages_.size(), stored, source, conditions);
  if (out.observed.defined() && out.x.is_alias_of(stored)) out.x = out.x.clone();
  fill_missing(out.x, out.observed, 0);
  return out;
}

NetworkValues TransformChain::before(size_t stage, const torch::Tensor& stored,
                                     const Source& source, const Conditions& conditions) const {
  return through(stage, stored, source, conditions);
}

torch::Tensor TransformChain::inverse(const torch::Tensor& y, const Conditions& conditions) const {
  torch::Tensor x = as_float64(y);
  for (size_t i = stages_.size(); i-- > 0;) x = stages_[i]->inverse({x, conditions});
  return x;
}

std::vector<size_t> TransformChain::unmeasured() const {
  std::vector<size_t> all;
  for (size_t i = 0; i < stages_.size(); ++i)
    if (stages_[i]->statistics_of({1}) > 0 && !stages_[i]->statistics()) all.push_back(i);
  return all;
}

int64_t TransformChain::statistics_of(size_t stage, c10::IntArrayRef example_shape) const {
  return stages_[stage]->statistics_of(example_shape);
}

void TransformChain::set_statistics(size_t stage, Statistics statistics) {
  stages_[stage]->set_statistics(std::move(statistics));
}

std::string TransformChain::name(size_t stage) const {
  return key_of(key_, stage) + " = \"" + entries_[stage] + "\"";
}

std::vector<std::pair<std::string, torch::Tensor>> TransformChain::state() const {
  std::vector<std::pair<std::string, torch::Tensor>> all;
  for (size_t i = 0; i < stages_.size(); ++i) {
    const Statistics* const statistics = stages_[i]->statistics();
    if (!statistics) continue;
    all.emplace_back(state_name(i, "mean"), statistics->mean);
    all.emplace_back(state_name(i, "std"), statistics->std);
  }
  return all;
}

void TransformChain::restore(const std::map<std::string, torch::Tensor>& state,
                             c10::IntArrayRef example_shape, const std::string& where) {
  for (size_t i = 0; i < stages_.size(); ++i) {
    const int64_t count = stages_[i]->statistics_of(example_shape);
    if (count == 0) continue;
    const auto found = [&](const char* what) {
      const auto at = state.find(state_name(i, what));
      const bool fits = at != state.end() && at->second.sizes() == c10::IntArrayRef{count} &&
                        at->second.is_floating_point() &&
                        torch::isfinite(at->second).all().item<bool>();
      if (fits) return at->second;
      throw CheckpointError(where + ": has no " + std::to_string(count) + " finite numbers '" +
                            state_name(i, what) + "', which " + name(i) +
                            " works with. The file is damaged or of another run.");
    };
    Statistics statistics{found("mean"), found("std")};
    if (!statistics.std.gt(0).all().item<bool>())
      throw CheckpointError(where + ": '" + state_name(i, "std") +
                            "' holds a number that is not above 0. The file is damaged.");
    stages_[i]->set_statistics(std::move(statistics));
  }
}

std::vector<std::string> problems_of(const std::vector<std::string>& entries,
                                     const std::string& key) {
  std::vector<std::string> all;
  for (size_t i = 0; i < entries.size(); ++i) {
    try {
      parse_transform(entries[i], key_of(key, i));
    } catch (const ConfigError& error) {
      all.emplace_back(error.what());
    }
  }
  return all;
}

std::vector<std::string> conditions_of(const std::vector<std::string>& entries) {
  std::vector<std::string> names;
  for (const std::string& entry : entries) {
    try {
      const std::string name = parse_transform(entry, "")->condition();
      if (!name.empty()) names.push_back(name);
    } catch (const ConfigError&) {  // problems_of tells it
    }
  }
  return names;
}

}  // namespace scorenet::transform
