// A [data] block for a file that nobody has described: a guess to look at and correct.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/data/data_map.hpp"
#include "framework/data/file_tree.hpp"

namespace scorenet::data {

struct ProposedMap {
  DataMap map;
  std::string what;                          // what it was taken for
  std::vector<std::string> notes = {};       // what the map leaves out: conditions, other arrays
  std::optional<double> missing = {};        // the mark of missing values
  std::vector<std::string> transforms = {};  // left to whoever looks at the values
};

/// Knows The Well's t0_fields, CaloChallenge's showers, netCDF's variables, arrays of NumPy, and
/// else takes the largest array of numbers; its channels are the axis that looks like them. Splits
/// are by sample numbers, 90, 5 and 5 per cent. Nothing where no array has two axes.
std::optional<ProposedMap> propose_map(const std::string& path, const std::vector<TreeEntry>& tree);

/// As it stands in a config.
std::string to_toml(const ProposedMap& proposed);

}  // namespace scorenet::data
