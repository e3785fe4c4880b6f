// Regions of a gzip'd array, their chunks inflated on several threads.
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
  /// Whether an array is stored so that this reads it: chunks, gzip and at most a shuffle before
  /// it, and bytes that are the tensor's.
  static bool can_read(const Hdf5ArrayInfo& info);

  /// `array` must outlive this. threads: at work in read(), at least one.
  ChunkInflater(const Hdf5Array& array, int threads);

  /// The regions, each as Hdf5Array::read_region gives it. Throws DataError.
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
