// Maps a condition from the file's values to the network's: transforms as for samples, and last,
// for a time of the day or of the year, its angle on the circle.
//
//     angle(P)   the cosines, then the sines, of 2 pi x / P: twice as many numbers (channels)
#pragma once

#include <torch/types.h>

#include <optional>
#include <string>
#include <vector>

#include "framework/transform/transform_chain.hpp"

namespace scorenet::transform {

class ConditionChain {
 public:
  ConditionChain() = default;
  /// entries: condition.NAME.transforms. missing: the mark of missing values, which become 0. key:
  /// "condition.NAME.transforms". Throws ConfigError naming the entry.
  ConditionChain(const std::vector<std::string>& entries, const std::string& missing,
                 const std::string& key);

  /// How many numbers or channels the network gets for `count` in the file.
  int64_t width(int64_t count) const { return period_ ? 2 * count : count; }
  /// stored: (B, K) or (B, F, ...) of any real type. Returns float64, width(K) or width(F) in place
  /// of K or F. Throws DataError naming a value that is not finite or outside a transform's domain.
  torch::Tensor forward(const torch::Tensor& stored, const Source& source) const;

  /// The transforms before the angle, which may have statistics.
  TransformChain& chain() { return chain_; }
  const TransformChain& chain() const { return chain_; }

 private:
  TransformChain chain_;
  std::optional<double> period_;
};

/// Every problem of the entries as a sentence. key: "condition.NAME.transforms".
std::vector<std::string> condition_problems(const std::vector<std::string>& entries,
                                            const std::string& key);

}  // namespace scorenet::transform
