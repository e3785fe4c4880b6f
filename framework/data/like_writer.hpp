// Writes samples in the layout of the file that a model was trained on: data sets of the same name,
// axis order, type, storage, filters and attributes, for as many samples as were drawn.
//
// It is the inverse of reading under a map (sample_layout.hpp): channels go back to their arrays,
// axes to their places. Of several axes of samples, the first numbers the drawn samples and the
// others have length 1 (trajectories of one time). Of a window, only its places are written. For a
// .npy file a .npy file is written. Conditions that are vectors are written, too; other data sets
// of the file do not describe samples and are left out.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "framework/data/condition_reader.hpp"
#include "framework/data/data_map.hpp"
#include "framework/data/hdf5.hpp"
#include "framework/data/npy_writer.hpp"
#include "framework/data/sample_layout.hpp"

namespace scorenet::data {

class LikeWriter {
 public:
  /// Creates `path`. like: a .npy file, or an HDF5 file with the map's arrays, where {split} stands
  /// for `split`. conditions: those that are vectors in arrays of `like` are written, too. Throws
  /// DataError naming what is missing there, and for a .npy file whose first axis does not number
  /// the samples.
  LikeWriter(const std::string& like, const DataMap& map, const std::string& split,
             const std::string& path, int64_t samples,
             const std::vector<ConditionMap>& conditions = {});

  /// Shape of one sample, as the model has it.
  const std::vector<int64_t>& example_shape() const { return example_shape_; }
  /// x: (B, example_shape...) in the file's units: samples `first` to `first` + B - 1. Values are
  /// rounded for whole-number types. Throws DataError if the file cannot be written.
  void write(int64_t first, const torch::Tensor& x);
  bool has_conditions() const { return !conditions_.empty(); }
  /// The conditions of these samples, as files hold them. Throws DataError.
  void write_conditions(int64_t first, const ConditionValues& values);
  /// Writes everything out. Throws DataError (a full disk shows only here).
  void close();

 private:
  struct Array {
    Hdf5Handle handle;
    std::string name;
    SampleLayout layout;
    bool whole_numbers = false;
  };

  void create_npy(const std::string& like, const DataMap& map);
  void create_hdf5(const std::string& like, const DataMap& map, const std::string& split,
                   const std::vector<ConditionMap>& conditions);
  void stack(const Array& array);
  Array create_array(const Hdf5Handle& like, const std::string& like_path, const std::string& name,
                     const AxisRoles& roles);
  void write_part(const Array& array, int64_t first, const torch::Tensor& x);

  std::string path_;
  int64_t samples_;
  Hdf5Handle file_;
  std::unique_ptr<NpyWriter> npy_;  // in its place
  std::vector<Array> arrays_;
  std::map<std::string, Array> conditions_;
  std::vector<int64_t> stacked_shape_, example_shape_;
};

}  // namespace scorenet::data
