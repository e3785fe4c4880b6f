// The system calls that writing files needs, behind one small class, so that a test can make any
// of them fail.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>

namespace scorenet::files {

/// Each call behaves as the POSIX call of that name: -1 (or a short count for write) and
/// errno on failure.
class FileLayer {
 public:
  virtual ~FileLayer() = default;

  /// Creates `path` for writing; fails with EEXIST if it exists.
  virtual int create(const std::filesystem::path& path);
  virtual ssize_t write(int file, const void* bytes, size_t count);
  virtual int sync(int file);
  virtual int close(int file);
  virtual int rename(const std::filesystem::path& from, const std::filesystem::path& to);
  virtual int make_folder(const std::filesystem::path& path);
  /// Makes the names inside a folder durable (a rename is not, until its folder is on the disk).
  virtual int sync_folder(const std::filesystem::path& path);
};

/// The layer that touches the disk. It has no state.
FileLayer& real_files();

}  // namespace scorenet::files
