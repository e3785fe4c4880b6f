// Describes how files become samples: which files, which of their arrays, and what each axis means.
//
// A plain value: it is read from a config, saved with the run and stored in its snapshots. Its
// defaults are this program's own layout, /SPLIT/images (N, C, ...). README.md beside this file
// explains each key.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "framework/data/index_range.hpp"

namespace scorenet::data {

/// The samples of each split: ranges of sample numbers, or files (or patterns of files).
using SplitTable = std::map<std::string, std::vector<std::string>>;

/// The split of all samples, for data in which neither the files nor the table name splits.
inline constexpr const char* kAllSamples = "all";

struct DataMap {
  std::vector<std::string> path;  // files or patterns; {split} stands for the split's name
  std::vector<std::string> arrays = {"{split}/images"};  // several are stacked as channels
  std::vector<int64_t> sample_axes = {0};                // of the stored array, slowest first
  std::optional<int64_t> channel_axis = 1;  // of the stored array; none: add an axis of size 1
  std::vector<std::string> window;          // part of each stored axis to take; empty: all
  std::vector<int64_t> reshape;             // shape of a sample, channels first; empty: as stored
  SplitTable splits;
  std::string labels_array = "{split}/labels";

  bool operator==(const DataMap&) const = default;
};

/// Whether this is the program's own layout, wherever its files are.
bool is_own_layout(const DataMap& map);

/// One sentence for each value that is wrong for any file.
std::vector<std::string> problems(const DataMap& map);

/// `text` with the split's name in place of every {split}.
std::string with_split(std::string text, const std::string& split);

/// Whether these entries of a SplitTable are ranges of samples, not files.
bool are_ranges(const std::vector<std::string>& entries);

/// "A.h5", "A.h5, B.h5", "A.h5, B.h5 and 7 more": what the user gave as data.path.
std::string path_text(const DataMap& map);

bool is_npy(const std::string& path);

/// Where the samples of one split lie.
struct SplitSource {
  std::string split;
  std::vector<std::string> files;        // sorted
  std::vector<std::string> ranges = {};  // of the sample numbers; empty: all
  /// Samples with fewer samples before them in their trajectory are left out.
  int64_t history = 0;
};

/// Expands the patterns. Throws DataError if one matches nothing or a file is named twice, and
/// ConfigError if nothing says which samples the split has.
SplitSource source_of(const DataMap& map, const std::string& split);

/// Every file that the map names, for all splits; a pattern that matches nothing is left out.
std::vector<std::string> files_of(const DataMap& map);

}  // namespace scorenet::data
