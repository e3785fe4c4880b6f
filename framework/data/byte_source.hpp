// A source file, plain or gzip, read from its start. A reader compares what the file's
// header declares with most_bytes() before it allocates memory.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace scorenet::data {

class ByteSource {
 public:
  /// Throws DataError if `path` is no regular file that may be read.
  explicit ByteSource(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  /// The largest number of decoded bytes that the file can hold: its size, or for gzip its
  /// size times the best ratio of deflate.
  int64_t most_bytes() const { return most_bytes_; }
  bool gzip() const { return gzip_; }

  /// Fills `out` with the next bytes. Returns how many there were: fewer than `count` only at the
  /// end. Throws DataError if the file is damaged.
  size_t read(void* out, size_t count);
  /// The next `count` bytes, fewer at the end. REQUIRES count <= most_bytes(). Throws DataError if
  /// the file is damaged or the bytes do not fit into memory.
  std::string read_string(size_t count);
  bool at_end();
  void rewind();

 private:
  std::filesystem::path path_;
  bool gzip_ = false;
  int64_t most_bytes_ = 0;
  int64_t at_ = 0;
  std::unique_ptr<gzFile_s, decltype(&gzclose)> file_{nullptr, &gzclose};
};

}  // namespace scorenet::data
