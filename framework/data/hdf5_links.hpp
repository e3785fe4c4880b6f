// Resolves links to other files: external links and the sources of virtual data sets.
//
// HDF5 tries several folders for a relative name and opens whatever it finds. It would wait for
// ever on a pipe. So this code checks each file before HDF5 opens it.
#pragma once

#include <string>

#include "framework/data/hdf5_call.hpp"

namespace scorenet::data {

struct LinkedFile {
  std::string path;
  // empty: a regular file that may be read; else "no such file", "is a pipe", ...
  std::string trouble;
};

/// The file that HDF5 opens for `name`, a link in the file `parent`. prefix_variable:
/// HDF5_EXT_PREFIX (external links) or HDF5_VDS_PREFIX (virtual data sets), which names the folders
/// to try first.
LinkedFile find_linked_file(const std::string& name, const std::string& parent,
                            const char* prefix_variable);

/// Access properties (H5P_LINK_ACCESS, H5P_DATASET_ACCESS, ...) under which no link is followed to
/// anything but a regular file.
Hdf5Handle careful_access(hid_t property_class);

/// "" if `name` is not a link of the open object `location`; else its description: "an external
/// link to "/x" in t.h5 (no such file)".
std::string describe_link(hid_t location, const std::string& name);

}  // namespace scorenet::data
