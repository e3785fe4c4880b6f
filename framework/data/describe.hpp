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

/// Of a file of the own layout, several lines: source, split rule, and for each split its shape,
/// type, storage, label histogram and fingerprint. Opens every split as training would, so it
/// throws DataError where training would. Of any other file: its arrays, and a [data] block to
/// begin with, where one can be guessed.
std::string describe_file(const std::filesystem::path& path);

struct DescribeOptions {
  std::string split;                   // empty: all that the map names
  int64_t levels = -1;                 // as data.levels
  std::optional<double> missing = {};  // marks values that are not there, as NaN does; unsaid:
                                       // as the file says (_FillValue)
};

/// The splits of a map: samples, storage, labels, and each channel's range, mean, deviation and
/// missing share; of large splits over samples spread evenly. Throws DataError and ConfigError
/// where training would, but for values that are not finite.
std::string describe_map(const DataMap& map, const DescribeOptions& options);

/// Draws samples spread over a split (over the first that the map names, if options.split is
/// empty).
void draw_samples(const DataMap& map, const DescribeOptions& options, int64_t samples,
                  const std::filesystem::path& picture);

}  // namespace scorenet::data
