// What a network is told of samples by number: the arrays that [condition.NAME] names, read beside
// the samples.
//
//     kind     the array                         of one sample
//     vector   sample axes, then any             (K) numbers
//     field    as the samples' own, or with      (F, ...) channel first, on the samples' grid or
//              an axis less: no channel          on one that it is a multiple of
//              without the sample axes           the same for every sample
//     steps    of a field: those of earlier      their channels, one step behind the other
//              samples of the same trajectory
//
// A trajectory is the last of the sample axes, in one file.
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

/// Of some samples, by the condition's name: (B, K) or (B, F, ...), uint8, float32 or float64.
using ConditionValues = std::map<std::string, torch::Tensor>;

/// The arrays of a sample over all files, stacked as channels.
using SampleArrays = std::vector<std::shared_ptr<ArrayView>>;

class ConditionReaders {
 public:
  /// Opens the arrays of all `conditions`. samples: those of the samples themselves, or none: then
  /// they are opened where a condition needs them. blocks: as ArrayView. Throws DataError naming
  /// what is missing, of another length or of a shape that does not lie on the samples' grid.
  ConditionReaders(const std::vector<ConditionMap>& conditions, const DataMap& map,
                   const SplitSource& source, const std::vector<int64_t>& example_shape,
                   SampleArrays samples, int64_t blocks);

  bool has(const std::string& name) const { return readers_.contains(name); }
  /// Samples that they are of; -1 where all are the same for every sample.
  int64_t size() const { return size_; }
  /// Of one sample.
  const std::vector<int64_t>& shape(const std::string& name) const;
  /// "FILE.h5, dataset "/energies"": how a message begins.
  const std::string& where(const std::string& name) const;
  /// One thread at a time. Throws DataError.
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
  static Reader constant(const torch::Tensor& field, const std::string& where,
                         const Opening& opening);
  void take_size(const ArrayView& view);

  std::map<std::string, Reader> readers_;
  int64_t size_ = -1;
  std::string sized_by_;  // whose size that is
};

}  // namespace scorenet::data
