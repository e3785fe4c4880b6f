// Lists what any HDF5 or .npy file holds: the names of its arrays and how each is stored.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/data/hdf5.hpp"

namespace scorenet::data {

struct TreeEntry {
  std::string name;                       // "/train/images"; "" for a .npy file
  Hdf5ArrayInfo info;                     // has no type for a broken link
  std::optional<double> fill_value = {};  // netCDF's mark of missing values
  std::string units = {};
  std::string packing = {}, unpacking = {};  // as text and as transform (stored_marks.hpp)
  bool is_axis = false;  // a dimension scale: the coordinates along an axis of other arrays
  bool describes_others = false;  // places or cell bounds of other arrays (CF's attributes say so)
};

/// The shortest digits that are this number, or its nearest float32 where that is the same.
std::string number_text(double value);

/// All arrays below "/", in the order of their names; of a large file the first thousand. Does not
/// read their values. Throws DataError if `path` is neither HDF5 nor .npy.
std::vector<TreeEntry> tree_of(const std::string& path);

/// "contiguous at byte 2048, mapped", "chunks of (64, 1, 28, 28), gzip 4, shuffle".
std::string storage_text(const Hdf5ArrayInfo& info);

/// One line per array: name, shape, type, storage.
std::string tree_text(const std::vector<TreeEntry>& tree);

}  // namespace scorenet::data
