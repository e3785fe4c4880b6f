// Checks the sources of a virtual data set: all exist, are long enough and cover the array.
#pragma once

#include <string>
#include <vector>

#include "framework/data/hdf5.hpp"
#include "framework/data/stored_file.hpp"

namespace scorenet::data {

/// The files of all sources. properties: the virtual array's creation properties. Throws
/// DataError naming the source that is missing, short or incomplete, or the first sample that no
/// source covers.
std::vector<StoredFile> check_sources(hid_t properties, const Hdf5ArrayInfo& info,
                                      const std::string& where, int nesting);

}  // namespace scorenet::data
