// Everything that a data set knows about the files of a split, except their values.
//
// Opening a file reads its metadata, which on a parallel file system costs as much as the values.
// So one rank inspects the files, and the others build their data set from its result. They open a
// file when they first read samples of it.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "framework/data/data_map.hpp"
#include "framework/data/hdf5.hpp"
#include "framework/data/stored_file.hpp"

namespace scorenet::data {

/// One array of one file.
struct FileListing {
  std::vector<StoredFile> files;  // all that hold values, the array's own first
  Hdf5ArrayInfo storage;
};

/// One array of all files.
struct ArrayListing {
  std::vector<FileListing> files;
  int64_t block_rows = 1;
};

/// What samples are told, by the condition's name.
struct ConditionListing {
  std::map<std::string, ArrayListing> arrays;
  std::map<std::string, torch::Tensor> constants;  // float64: fields that are the same for all
};

struct SplitListing {
  SplitSource source;
  std::vector<ArrayListing> arrays;  // in the order of the map's
  torch::Tensor labels;              // (N) int64; undefined: none
  ConditionListing conditions = {};
};

/// As bytes for other processes, perhaps on other hosts: without device and inode numbers.
std::string to_bytes(const SplitListing& listing);
SplitListing listing_from_bytes(const std::string& bytes);

}  // namespace scorenet::data
