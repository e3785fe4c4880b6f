// A file mapped into memory for reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace scorenet::data {

class MappedFile {
 public:
  /// Throws DataError if the file cannot be mapped. No file descriptor stays open.
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
