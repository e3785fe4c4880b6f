// data.transforms: the transforms in order, from the values of a file to those of the network.
//
// -log p(x) = -log p(y) - log_det, where log_det is the sum of log |dy/dx| over the observed values
// of an example. Missing values are 0 for the network and are no dimensions of x or y.
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/transform/transform.hpp"

namespace scorenet::transform {

/// Prefix of the names in state().
inline constexpr const char* kStatePrefix = "transform.";
/// "transform.1.mean".
std::string state_name(size_t stage, const char* what);

/// Where values come from, for messages: "a.h5, dataset "/train/images"", and each example's index.
struct Source {
  std::string where;
  const std::vector<int64_t>& indices;
};

/// Some examples as the network sees them.
struct NetworkValues {
  torch::Tensor x;         // (B, ...) float64; 0 where nothing is observed
  torch::Tensor observed;  // (B, ...) bool; undefined: all are observed
  torch::Tensor log_det;   // (B) float64
};

class TransformChain {
 public:
  TransformChain() = default;  // no transforms, no missing values
  /// entries: data.transforms; missing: data.missing; key: of the config, for messages. Throws
  /// ConfigError naming the entry.
  explicit TransformChain(const std::vector<std::string>& entries, const std::string& missing = "",
                          std::string key = "data.transforms");

  bool empty() const { return stages_.empty(); }
  bool has_missing() const { return missing_.has_value(); }
  /// Neither transforms nor missing values.
  bool is_plain() const { return empty() && !has_missing(); }
  /// Whether a transform divides by a condition.
  bool needs_conditions() const;

  /// stored: (B, ...) of any real type. Throws DataError naming the first value outside a
  /// transform's domain: sample, place, value, and what the transform expects.
  NetworkValues forward(const torch::Tensor& stored, const Source& source,
                        const Conditions& conditions = {}) const;
  /// (B, ...) float64 on the CPU, in the file's units. y: of any floating type and device.
  torch::Tensor inverse(const torch::Tensor& y, const Conditions& conditions = {}) const;
  /// Which values are not missing: bool, or undefined if no mark of missing values is set.
  torch::Tensor observed(const torch::Tensor& stored) const;

  /// Stages that need statistics and have none yet, in order.
  std::vector<size_t> unmeasured() const;
  /// The input of stage `stage`: the output of the stages before it.
  NetworkValues before(size_t stage, const torch::Tensor& stored, const Source& source,
                       const Conditions& conditions = {}) const;
  int64_t statistics_of(size_t stage, c10::IntArrayRef example_shape) const;
  void set_statistics(size_t stage, Statistics statistics);
  /// "data.transforms[1] = "standardise(channel)"".
  std::string name(size_t stage) const;
  const std::vector<std::string>& entries() const { return entries_; }

  /// All statistics by name, "transform.1.mean" and "transform.1.std", for files.
  std::vector<std::pair<std::string, torch::Tensor>> state() const;
  /// Takes the statistics from such a state. `where` begins messages. Throws CheckpointError naming
  /// what is missing or impossible.
  void restore(const std::map<std::string, torch::Tensor>& state, c10::IntArrayRef example_shape,
               const std::string& where);

 private:
  NetworkValues through(size_t stages, const torch::Tensor& stored, const Source& source,
                        const Conditions& conditions) const;

  std::string key_ = "data.transforms";
  std::vector<std::string> entries_;
  std::vector<std::shared_ptr<Transform>> stages_;
  std::optional<double> missing_;
};

/// Every problem of the entries as a sentence: for a config's checks. key: "data.transforms".
std::vector<std::string> problems_of(const std::vector<std::string>& entries,
                                     const std::string& key = "data.transforms");

/// The conditions that the entries divide by. Entries that are wrong name none.
std::vector<std::string> conditions_of(const std::vector<std::string>& entries);

}  // namespace scorenet::transform
