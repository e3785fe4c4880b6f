// A .npy file, written a few rows at a time, as numpy.save writes it: version 1.0, C order.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <fstream>
#include <vector>

namespace scorenet::data {

class NpyWriter {
 public:
  /// Creates `path` for an array of this type and shape. Throws DataError if it cannot be written.
  NpyWriter(const std::filesystem::path& path, torch::Dtype dtype,
            const std::vector<int64_t>& shape);

  /// rows: (count, ...), which become rows `first` to `first` + count - 1 of the first axis, of the
  /// file's type. Throws DataError if the disk is full.
  void write_rows(int64_t first, const torch::Tensor& rows);
  /// Writes everything out. Throws DataError (a full disk shows only here).
  void close();

 private:
  void check() const;

  std::filesystem::path path_;
  torch::Dtype dtype_;
  std::ofstream out_;
  int64_t header_bytes_ = 0;
};

}  // namespace scorenet::data
