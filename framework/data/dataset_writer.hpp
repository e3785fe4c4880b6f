// Writes a data file split by split, a few rows at a time, and makes it appear whole.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "framework/data/hdf5.hpp"
#include "framework/data/notes.hpp"

namespace scorenet::data {

struct SplitHeader {
  std::string name;                    // "train"
  int64_t size = 0;                    // samples
  std::vector<int64_t> example_shape;  // (C, H, W), or any for continuous data
  torch::Dtype dtype = torch::kUInt8;
  bool labels = false;
};

class DatasetWriter {
 public:
  /// Throws DataError if `target` exists and `overwrite` is false, or its folder cannot be written.
  /// `target` itself is touched only by commit(); a writer destroyed before that leaves nothing.
  DatasetWriter(const std::filesystem::path& target, const Hdf5Storage& storage, bool overwrite);
  ~DatasetWriter();
  DatasetWriter(const DatasetWriter&) = delete;
  DatasetWriter& operator=(const DatasetWriter&) = delete;

  /// Sets an attribute of the file: where the data came from, how it was split.
  void set_attribute(const std::string& key, const std::string& value);
  /// The names of the labels 0, 1, ...: the data set /classes.
  void set_class_names(const std::vector<std::string>& names);
  /// Copies from another file everything except the splits' arrays: attributes, and objects of
  /// other names. What cannot be copied is noted. Call it after the last split.
  void copy_the_rest(const Hdf5File& from, Notes& notes);
  /// Begins a split. Throws DataError if the split before it is incomplete, or if the disk has no
  /// room.
  void begin_split(const SplitHeader& header);
  /// The next rows of the split: images (n, ...) and, where it has labels, labels (n) of
  /// an integer type.
  void append(const torch::Tensor& images, const torch::Tensor& labels);
  /// begin_split and append in one, for a split that is in memory. labels may be undefined.
  void write_split(const std::string& name, const torch::Tensor& images,
                   const torch::Tensor& labels);
  /// Throws DataError if rows of the last split are missing or the disk is full; then nothing
  /// appears at the target.
  void commit();

 private:
  void check_complete() const;
  void check_room(int64_t bytes) const;

  std::filesystem::path target_;
  std::filesystem::path temporary_;
  Hdf5Storage storage_;
  std::optional<Hdf5File> file_;
  SplitHeader split_;
  std::optional<Hdf5Array> images_;
  std::optional<Hdf5Array> labels_;
  int64_t rows_ = 0;  // of the current split, written so far
};

}  // namespace scorenet::data
