// One array of a data set, over all its files, read by sample number. The array holds the samples
// themselves, or something that belongs to each of them (a condition).
//
//   const SplitSource source = source_of(config.data.map, "train");
//   ArrayView energies(source, "incident_energies", roles_beside_samples(config.data.map), 32);
//   energies.read({7, 3})   // (2, ...) the rows of samples 7 and 3 of the split
//
// Samples are numbered file after file. The split's ranges choose among these numbers. Files are
// opened when they are read, and few are open at once.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "framework/data/listing.hpp"
#include "framework/data/sample_reader.hpp"

namespace scorenet::data {

/// " and 1 more file", " and 7 more files": to follow the first one's name.
std::string and_more_files(size_t count);

class ArrayView {
 public:
  /// Inspects every file once. array: its name, where {split} stands for the split's name; or the
  /// name of a .npy file, which then replaces the source's files. blocks: how many blocks of
  /// chunked files to keep in memory. A trajectory is the last sample axis, in one file.
  /// Throws DataError if a file or array is missing or damaged, if samples of two files differ in
  /// shape or type, or if the roles or ranges do not fit.
  ArrayView(const SplitSource& source, const std::string& array, const AxisRoles& roles,
            int64_t blocks);
  /// The same for files that were inspected before, perhaps by another rank: opens none.
  ArrayView(const SplitSource& source, const std::string& array, const AxisRoles& roles,
            int64_t blocks, ArrayListing listing);

  /// What the inspection of the files found.
  const ArrayListing& listing() const { return listing_; }
  /// Number of samples of the split.
  int64_t size() const { return size_; }
  /// Shape of one sample.
  const std::vector<int64_t>& sample_shape() const { return sample_shape_; }
  torch::Dtype dtype() const { return dtype_; }
  /// How the array is stored in the first file.
  const Hdf5ArrayInfo& storage() const { return listing_.files.front().storage; }
  const std::vector<std::string>& files() const { return files_; }
  /// Samples that are read together at one cost, for ShuffleOptions::block_rows.
  int64_t block_rows() const { return listing_.block_rows; }
  /// "/train/images", or the name of a .npy file.
  const std::string& array() const { return array_; }
  /// "FILE.h5, dataset "/train/images"", of several files "FILE.h5 and 3 more files, ...".
  std::string where() const;

  /// (B, sample...), in the order of `indices`. REQUIRES 0 <= index < size(). shift: below 0,
  /// reads the samples that many places earlier in their trajectories; REQUIRES that the source's
  /// history covers it. Not thread-safe. Throws DataError if a file cannot be read or has changed.
  torch::Tensor read(const std::vector<int64_t>& indices, int64_t shift = 0);

  /// Which of files() holds this sample.
  size_t file_of(int64_t index) const;
  /// Its number among the samples of all files, before the split's ranges choose some.
  int64_t place_of(int64_t index) const;
  int64_t samples_of_files() const { return begins_.back(); }
  int64_t samples_of_file(size_t file) const { return begins_[file + 1] - begins_[file]; }

 private:
  struct Range {  // of the split: samples from `begin` on lie at these places of all files' samples
    int64_t begin;
    Places places;
  };
  struct Opened {
    size_t file;
    std::unique_ptr<SampleReader> reader;
  };

  void name_files(const SplitSource& source, const std::string& array);
  void look_at_files();
  void count_samples();
  void take_ranges(const std::vector<std::string>& ranges);
  void add_places(const Places& places);
  void leave_out_without(int64_t history);
  void check_like_first(const std::vector<int64_t>& sample_shape, size_t file) const;
  std::string file_where(size_t file) const;
  SampleReader& opened(size_t file);

  std::string split_, array_;
  AxisRoles roles_;
  std::vector<std::string> files_;
  ArrayListing listing_;               // files as they were when they were first inspected
  std::vector<int64_t> begins_;        // of each file's samples; then the number of all
  std::vector<int64_t> trajectories_;  // samples of one trajectory, for each file
  std::vector<Range> ranges_;
  int64_t size_ = 0;
  std::vector<int64_t> sample_shape_;
  torch::Dtype dtype_ = torch::kUInt8;
  BlockCache cache_;
  int threads_;  // those of the thread that made this: others may not know how many a rank has
  std::list<Opened> open_;  // most recently used first; after cache_, which they use
};

}  // namespace scorenet::data
