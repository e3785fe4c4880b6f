// A file in the memory of this process, to be read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace scorenet::data {

class MappedFile {
 public:
  /// Throws DataError. No file descriptor stays open.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const char* at(int64_t offset) const { return static_cast<const char*>(data_) + offset; }
  int64_t size() const { return static_cast<int64_t>(size_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace scorenet::data
