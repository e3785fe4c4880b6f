// What data files hold, for people: `scorenet data info`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "framework/data/data_map.hpp"

namespace scorenet::data {

/// Whether this is a file of the program's own layout: some group of it holds `images`. Throws
/// DataError for what is neither HDF5 nor .npy.
bool has_own_layout(const std::string& path);

/// For a file of the program's own layout: source, split rule, and for each split its shape, type,
/// storage, label histogram and fingerprint. It opens every split as training does and throws
/// DataError where training would. For any other file: its arrays, and a [data] block to start
/// from, if one can be guessed.
std::string describe_file(const std::filesystem::path& path);

struct DescribeOptions {
  std::string split;                   // empty: all that the map names
  int64_t levels = -1;                 // as data.levels
  std::optional<double> missing = {};  // marks missing values, as NaN does; none: the file's own
                                       // mark (_FillValue)
};

/// The splits of a map: samples, storage, labels, and each channel's range, mean, deviation and
/// share of missing values; of large splits, from evenly spread samples. Throws DataError and
/// ConfigError where training would, except for values that are not finite.
std::string describe_map(const DataMap& map, const DescribeOptions& options);

/// Writes a picture of samples that are spread over a split (the first that the map names, if
/// options.split is empty).
void draw_samples(const DataMap& map, const DescribeOptions& options, int64_t samples,
                  const std::filesystem::path& picture);

}  // namespace scorenet::data
