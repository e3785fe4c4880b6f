// Describes one condition of a network, [condition.NAME]: which values of a file it is given.
//
// A plain value, as DataMap: read from a config, saved with the run and stored in its snapshots.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/data/data_map.hpp"

namespace scorenet::data {

struct ConditionMap {
  std::string name = {};
  /// The data set, with {split} for the split's name, or FILE.npy. Empty: the samples' own arrays.
  std::string array = {};
  std::string kind = "vector";               // of numbers; or "field": values on the sample's grid
  std::vector<std::string> transforms = {};  // from the file's values to the network's
  std::vector<int64_t> steps = {};           // < 0: which earlier samples; empty: the sample itself
  /// Shape for one sample in the file, (K) or channels first; empty until the data are opened.
  std::vector<int64_t> shape = {};

  bool is_field() const { return kind == "field"; }
  /// Whether it reads the samples' own arrays.
  bool of_samples() const { return array.empty(); }
  bool operator==(const ConditionMap&) const = default;
};

/// How many earlier samples of its trajectory a sample needs: 0 without steps.
int64_t history_of(const std::vector<ConditionMap>& conditions);

/// One sentence for each value that is wrong for any file.
std::vector<std::string> problems(const std::vector<ConditionMap>& conditions);

}  // namespace scorenet::data
