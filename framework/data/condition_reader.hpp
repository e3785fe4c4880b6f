// Reads the conditions of samples by sample number: the arrays that [condition.NAME] names, beside
// those of the samples.
//
//     kind     axes of the array                 condition of one sample
//     vector   sample axes, then any             (K) numbers
//     field    as the samples' arrays            (F, ...) channels first, on the samples' grid, or
//                                                on one whose sizes divide the samples'
//              without the channel axis          F = 1
//              without the sample axes           the same for every sample
//     steps    a field of earlier samples        their channels, one step after the other
//
// The last sample axis, within one file, is a trajectory; steps stay inside it.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "framework/data/array_view.hpp"
#include "framework/data/condition_map.hpp"

namespace scorenet::data {

/// Conditions of B samples by name: (B, K) or (B, F, ...), uint8, float32 or float64.
using ConditionValues = std::map<std::string, torch::Tensor>;

/// The arrays that form the samples, over all files; stacked as channels.
using SampleArrays = std::vector<std::shared_ptr<ArrayView>>;

class ConditionReaders {
 public:
  /// Opens the arrays of all `conditions`. samples: the arrays of the samples, if they are open
  /// already; else a condition that needs them opens them. blocks: as ArrayView. found: what
  /// another rank found; the arrays in it are opened when they are first read. Throws DataError
  /// naming an array that is missing, has another length, or does not fit the samples' grid.
  ConditionReaders(const std::vector<ConditionMap>& conditions, const DataMap& map,
                   const SplitSource& source, const std::vector<int64_t>& example_shape,
                   SampleArrays samples, int64_t blocks, const ConditionListing& found = {});

  bool has(const std::string& name) const { return readers_.contains(name); }
  /// What other ranks need to open no file.
  const ConditionListing& listing() const { return listing_; }
  /// Number of samples; -1 if every condition is the same for all samples.
  int64_t size() const { return size_; }
  /// Shape for one sample.
  const std::vector<int64_t>& shape(const std::string& name) const;
  /// "FILE.h5, dataset "/energies"", to begin a message.
  const std::string& where(const std::string& name) const;
  /// Not thread-safe. Throws DataError if a file cannot be read.
  ConditionValues read(const std::vector<int64_t>& indices);

 private:
  struct Reader {
    std::string where;
    std::vector<int64_t> shape;
    std::function<torch::Tensor(const std::vector<int64_t>& indices)> read;
  };

  struct Opening;
  Reader open(const ConditionMap& condition, const Opening& opening);
  Reader open_samples(const ConditionMap& condition, const Opening& opening);
  Reader open_vector(const ConditionMap& condition, const Opening& opening);
  Reader open_field(const ConditionMap& condition, const Opening& opening);
  Reader open_constant(const ConditionMap& condition, const torch::Tensor& field,
                       const Opening& opening);
  std::shared_ptr<ArrayView> view_of(const ConditionMap& condition, const AxisRoles& roles,
                                     const Opening& opening);
  void take_size(const ArrayView& view);

  std::map<std::string, Reader> readers_;
  ConditionListing listing_;
  int64_t size_ = -1;
  std::string sized_by_;  // where() of the array that has this size
};

}  // namespace scorenet::data
