// Guesses a [data] block for a file of another program, for the user to check and correct.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/data/data_map.hpp"
#include "framework/data/file_tree.hpp"

namespace scorenet::data {

struct ProposedMap {
  DataMap map;
  std::string what;                          // what the file looks like: "a NumPy array"
  std::vector<std::string> notes = {};       // what the map leaves out: conditions, other arrays
  std::optional<double> missing = {};        // the mark of missing values
  std::vector<std::string> transforms = {};  // filled by a caller that reads the values
};

/// Knows The Well's t0_fields, CaloChallenge's showers, netCDF's variables and NumPy's arrays;
/// otherwise it takes the largest array of numbers, and guesses its channel axis. Splits are ranges
/// of sample numbers, 90, 5 and 5 per cent. Returns nothing if no array has two axes.
std::optional<ProposedMap> propose_map(const std::string& path, const std::vector<TreeEntry>& tree);

/// The text for a config file.
std::string to_toml(const ProposedMap& proposed);

}  // namespace scorenet::data
