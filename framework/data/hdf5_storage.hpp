// Is every value of an array really stored, and in which files?
//
// HDF5 returns its fill value, usually zero, for values that were never written or are lost:
// missing chunks, contiguous arrays without space, raw data files that are too short, missing
// sources of a virtual data set. So an unfinished conversion looks like black images. A file that
// is sparse on purpose looks the same, so both are refused, and the message says how to store the
// fill values. Fill values that the library itself wrote (space allocated early) are stored
// values: this check does not find them.
#pragma once

#include <string>
#include <vector>

#include "framework/data/hdf5.hpp"
#include "framework/data/stored_file.hpp"

namespace scorenet::data {

/// All files that hold values of `array`, the array's own first. Reads the index of the chunks, not
/// their values. nesting: how many virtual data sets lead here. Throws
/// DataError naming the source or the first sample without data.
std::vector<StoredFile> check_stored(hid_t array, const Hdf5ArrayInfo& info,
                                     const std::string& where, int nesting);

}  // namespace scorenet::data
