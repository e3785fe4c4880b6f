// HDF5 files behind https, read in place: HDF5's driver "ros3" asks the server for ranges of bytes.
#pragma once

#include <hdf5.h>

#include <string>

#include "framework/data/address.hpp"

namespace scorenet::data {

/// Makes `access`, file access properties, read from such an address: signed with AWS_REGION,
/// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where all three are set. Throws DataError where this
/// HDF5 library has no such driver.
void read_remotely(hid_t access, const std::string& path);

}  // namespace scorenet::data
