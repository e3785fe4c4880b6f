// What an HDF5 file says about one array, before its values are read. For the files of this folder.
#pragma once

#include <hdf5.h>

#include <string>

#include "framework/data/hdf5.hpp"

namespace scorenet::data {

/// Shape, type, storage and filters of an open array. `where` begins messages. Throws DataError if
/// the file declares more values than any file holds.
Hdf5ArrayInfo array_info_of(hid_t array, const std::string& where);

/// The HDF5 type of a tensor's type. Throws DataError for types that are not stored.
hid_t hdf5_type(torch::Dtype dtype);

}  // namespace scorenet::data
