// What any HDF5 file, or .npy file, holds: the names of its arrays and how each is stored.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/data/hdf5.hpp"

namespace scorenet::data {

struct TreeEntry {
  std::string name;                       // "/train/images"; of a .npy file ""
  Hdf5ArrayInfo info;                     // of a link that leads nowhere: without a type
  std::optional<double> fill_value = {};  // netCDF's mark of what is missing
  std::string units = {};
  bool is_axis = false;  // a dimension scale: what stands along an axis of others, netCDF's way
};

/// All arrays below "/", in the order of their names; of a large file the first thousand. Their
/// values are not looked at. Throws DataError if `path` is neither HDF5 nor .npy.
std::vector<TreeEntry> tree_of(const std::string& path);

/// "contiguous at byte 2048, mapped", "chunks of (64, 1, 28, 28), gzip 4, shuffle".
std::string storage_text(const Hdf5ArrayInfo& info);

/// A line an array: name, shape, type, storage.
std::string tree_text(const std::vector<TreeEntry>& tree);

}  // namespace scorenet::data
