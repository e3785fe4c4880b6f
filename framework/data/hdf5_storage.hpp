// Is every value of an array really stored, and in which files?
//
// HDF5 gives its fill value, mostly zero, for whatever was never written or is gone: chunks,
// contiguous arrays without a place, files of raw data that are too short, sources of a virtual
// data set. A conversion that broke off looks like black images. A file that is sparse on
// purpose cannot be told from it, so both are refused, and the message says how to store the
// fill values. What the library itself wrote as fill value (space that was allocated early) is
// stored, and not found here.
#pragma once

#include <string>
#include <vector>

#include "framework/data/hdf5.hpp"
#include "framework/data/stored_file.hpp"

namespace scorenet::data {

/// All files that hold values of `array`, the array's own first. Takes the time of looking at each
/// chunk's entry, not at its values. nesting: how many virtual data sets lead here. Throws
/// DataError naming the source or the first sample without data.
std::vector<StoredFile> check_stored(hid_t array, const Hdf5ArrayInfo& info,
                                     const std::string& where, int nesting);

}  // namespace scorenet::data
