// Reads regions of a gzip-compressed array and inflates their chunks on several threads.
//
// H5Dread inflates one chunk after the other under the library's lock. Here the lock is held while
// a chunk's stored bytes are read (H5Dread_chunk), and zlib works outside it.
#pragma once

#include <torch/types.h>

#include <vector>

#include "framework/data/hdf5.hpp"

namespace scorenet::data {

class ChunkInflater {
 public:
  /// Whether this class can read an array: it is chunked, its filters are gzip or shuffle and gzip,
  /// and its bytes need no conversion.
  static bool can_read(const Hdf5ArrayInfo& info);

  /// `array` must outlive this. threads: how many inflate in read(), at least 1.
  ChunkInflater(const Hdf5Array& array, int threads);

  /// The regions, each as Hdf5Array::read_region returns it. Throws DataError on damage.
  std::vector<torch::Tensor> read(const std::vector<std::vector<Places>>& regions) const;

 private:
  struct Job;
  std::vector<Job> jobs_of(const std::vector<Places>& region, const torch::Tensor& out) const;
  void do_job(const Job& job) const;
  std::vector<char> inflated(const std::vector<int64_t>& corner) const;

  const Hdf5Array& array_;
  int threads_;
  bool shuffled_;
  size_t element_bytes_, chunk_bytes_;
};

}  // namespace scorenet::data
