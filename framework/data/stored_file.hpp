// A file that stays open while a run reads from it, and may shrink meanwhile.
//
// A read past the end of a file gives zeros in HDF5 and the signal SIGBUS in mapped memory. Here
// both become a DataError.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "framework/data/strided_copy.hpp"

namespace scorenet::data {

struct StoredFile {
  std::string path;
  int64_t size = 0;  // bytes, when it was first looked at
  // 0: seen by another process, to whose machine they may belong
  dev_t device = 0;
  ino_t inode = 0;
};

/// Throws DataError unless `path` is a readable regular file. Never blocks.
StoredFile look_at_file(const std::string& path);

/// The file as it stands now. Throws DataError if another one has taken its place, or if it has
/// another size.
StoredFile check_same_file(const StoredFile& file);

/// Throws DataError naming the first file that has become shorter. A new file of the same name does
/// not matter: the old one stays whole while it is open.
///
void check_not_shrunk(const std::vector<StoredFile>& files);

/// copy_strided from the mapped file `path`. Throws DataError naming it if the file has become too
/// short. Thread-safe. The first call installs a handler of SIGBUS, which passes on other causes of
/// the signal.
void copy_from_mapped(void* out, const void* mapped, const StridedCopy& copy,
                      const std::string& path);

}  // namespace scorenet::data
