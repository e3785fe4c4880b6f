// Reads NumPy's .npy files, plain or gzip, some rows at a time.
//
// "\x93NUMPY", two version bytes, the header's length, a Python dictionary as text, then the
// values. (Format: numpy.lib.format, versions 1.0 to 3.0.)
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "framework/data/byte_source.hpp"

namespace scorenet::data {

/// "<f4": how a header names a type that NpyFile reads.
const char* npy_type(torch::Dtype dtype);

class NpyFile {
 public:
  /// Throws DataError for another kind of file, an unknown type, Fortran order, an axis of length
  /// 0, or a shape that its bytes cannot hold.
  /// every_type: accept also float16, uint16 and uint32.
  explicit NpyFile(const std::filesystem::path& path, bool every_type = false);

  const std::filesystem::path& path() const { return source_.path(); }
  const std::vector<int64_t>& shape() const { return shape_; }
  torch::Dtype dtype() const { return dtype_; }
  const char* type_name() const;
  /// Where the values begin; -1 in a gzip file, which cannot be mapped.
  int64_t offset() const;
  /// "NAME.npy: float32 of shape (3, 2)", to begin a message.
  std::string where() const;

  /// The next rows of the first axis: (count, ...). Throws DataError if the file ends early or goes
  /// on after the last.
  torch::Tensor next_rows(int64_t count);
  /// Back to the first row.
  void rewind();

 private:
  void read_header();
  void check_size(size_t header_bytes);

  ByteSource source_;
  bool every_type_ = false;
  std::vector<int64_t> shape_;
  torch::Dtype dtype_ = torch::kUInt8;
  size_t header_bytes_ = 0;
  int64_t row_ = 0;  // the next
};

}  // namespace scorenet::data
