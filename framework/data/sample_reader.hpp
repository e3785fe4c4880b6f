// Reads samples of one array in one file, as fast as its storage allows.
//
// Contiguous arrays and .npy: the file is mapped, and a sample is copied from where it lies, at the
// speed of memory in any order (5.1 GB/s against 0.24 for one H5Dread an image, CIFAR-sized, warm).
// Otherwise whole blocks of chunks are read and kept: an order that stays inside a window of
// blocks reads each block once. Chunks of gzip alone are inflated on several threads. Either way a
// file that becomes shorter while it is read is a DataError.
//
// Values are delivered as uint8, float32 or float64, whichever holds the stored type exactly:
//   uint8 -> uint8;  int8, int16, uint16, float16, float32 -> float32;  int32, uint32, float64 ->
//   float64. Any other type is refused. HDF5 turns the other byte order round.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/data/block_cache.hpp"
#include "framework/data/hdf5.hpp"
#include "framework/data/listing.hpp"
#include "framework/data/sample_layout.hpp"

namespace scorenet::data {

class SampleReader {
 public:
  /// Sample number `sample` of this file goes to place `place` of the batch.
  struct Wanted {
    int64_t sample;
    int64_t place;
  };

  virtual ~SampleReader() = default;
  const SampleLayout& layout() const { return layout_; }
  /// How the array is stored. For a .npy file only shape, type, offset and size are set.
  const Hdf5ArrayInfo& storage() const { return storage_; }
  torch::Dtype dtype() const { return dtype_; }
  /// All files that hold values.
  const std::vector<StoredFile>& files() const { return files_; }

  /// Fills places of batch (B, sample...), contiguous, of dtype(). REQUIRES 0 <= sample < samples.
  /// Throws DataError.
  virtual void read(const std::vector<Wanted>& wanted, torch::Tensor& batch) = 0;
  /// Consecutive samples that are read together at one cost; 1 if any order costs the same.
  virtual int64_t block_rows() const = 0;

 protected:
  SampleReader(SampleLayout layout, Hdf5ArrayInfo storage, torch::Dtype dtype,
               std::vector<StoredFile> files)
      : layout_(std::move(layout)),
        storage_(std::move(storage)),
        dtype_(dtype),
        files_(std::move(files)) {}

  SampleLayout layout_;
  Hdf5ArrayInfo storage_;
  torch::Dtype dtype_;
  std::vector<StoredFile> files_;
};

/// The type in which a stored type is delivered; none if no type here holds it exactly.
std::optional<torch::Dtype> delivered_type(const std::string& stored);

/// What the files of a data set share.
struct Reading {
  BlockCache& cache;  // must outlive the readers
  int threads = 1;    // how many inflate chunks
};

/// Layout of an array stored so. Throws DataError that begins with `where`, as SampleLayout does.
SampleLayout sample_layout(const Hdf5ArrayInfo& storage, const AxisRoles& roles,
                           const std::string& where);

/// Opens `array` of `path` (unused for a .npy file, whose array has no name). file: its number in
/// the data set. known: what an earlier inspection found; nothing is inspected again then, and the
/// header of a mapped file is not read. Throws DataError naming the file and the array.
std::unique_ptr<SampleReader> open_samples(const std::string& path, const std::string& array,
                                           const AxisRoles& roles, const Reading& reading,
                                           int64_t file, const FileListing* known = nullptr);

}  // namespace scorenet::data
