// From a file to what a network is told of each sample: one entry of [condition.NAME].
//
// A plain value, as DataMap: read from a config, saved with the run and carried by its snapshots.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/data/data_map.hpp"

namespace scorenet::data {

struct ConditionMap {
  std::string name;
  /// The data set; {split} may stand in it; FILE.npy. Empty, with steps: the sample's own arrays.
  std::string array;
  std::string kind = "vector";          // numbers; or "field": values on the sample's grid
  std::vector<std::string> transforms;  // from the file's values to the network's
  std::vector<int64_t> steps;           // of earlier samples, below 0; empty: the sample itself
  /// Of one sample, as the file has it, (K) or channel first; empty until the data are opened.
  std::vector<int64_t> shape;

  bool is_field() const { return kind == "field"; }
  /// Whether it is of the samples themselves.
  bool of_samples() const { return array.empty(); }
  bool operator==(const ConditionMap&) const = default;
};

/// How many earlier samples of its trajectory a sample needs: 0 without steps.
int64_t history_of(const std::vector<ConditionMap>& conditions);

/// One sentence for each value that can be right for no file.
std::vector<std::string> problems(const std::vector<ConditionMap>& conditions);

}  // namespace scorenet::data
