// One split of a data set: samples and, where present, their labels, checked when opened.
//
// A DataMap says which files and arrays these are (data_map.hpp). By default they are in this
// program's own layout:
//   /SPLIT/images   (N, C, H, W) uint8, or (N, ...) float32 or float64 of any shape: continuous
//                   data, used as stored
//   /SPLIT/labels   (N) of any integer type, optional
//
// uint8 examples are delivered as stored; transform.hpp maps them to [-1, 1].
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/data/condition_reader.hpp"
#include "framework/data/data_map.hpp"
#include "framework/data/hdf5.hpp"

namespace scorenet::data {

struct SplitListing;

enum class DataKind {
  discrete,    // levels 0, 1, ...: bits per dimension have a meaning
  continuous,  // real numbers
};

struct Batch {
  torch::Tensor examples;           // (B, ...) uint8, float32 or float64
  torch::Tensor labels;             // (B) int64; undefined where the split has none
  std::vector<int64_t> indices;     // B: which samples these are
  torch::Tensor observed = {};      // bool, shape of examples: false: missing; undefined: none is
  ConditionValues conditions = {};  // those of DatasetOptions::conditions, as the file has them
  // The conditions as a network gets them (models::Conditions), once they are converted.
  torch::Tensor numbers = {}, fields = {};
};

/// Calls `look` on one of several ranks, and returns what it gave there on all. Every rank calls
/// it, in the same order.
using OnOneRank = std::function<std::string(const std::function<std::string()>& look)>;

struct DatasetOptions {
  bool labels = true;  // false: leave labels unread
  int64_t cached_blocks =
      32;               // chunked files: blocks kept in memory; twice a shuffle window is plenty
  int64_t levels = -1;  // of discrete data; 0: continuous; -1: as the type says
  std::optional<double> missing = {};  // marks missing values: NaN or a number
  std::vector<ConditionMap> conditions = {};
  OnOneRank on_one_rank = {};  // who inspects the files; empty: each rank for itself
};

struct ValueRange {
  double least = 0, greatest = 0;
};

/// Identifies a data set.
struct DatasetSummary {
  struct File {
    std::string name;         // without its folder
    std::string fingerprint;  // of its samples
  };

  std::string fingerprint;  // 32 hex digits
  DataKind kind = DataKind::discrete;
  std::optional<ValueRange> range;  // of continuous data, in the file's units
  std::string description;          // "60000 examples of shape (1, 28, 28), uint8, labels"
  int64_t levels = 0;               // of discrete data
  double mean = 0, deviation = 0;   // of continuous data: of all values that were read
  double missing = 0;               // of continuous data: the share of its values that are marked
  std::vector<File> files = {};     // of a data set of several

  /// As bytes for other ranks, and back.
  std::string to_bytes() const;
  static DatasetSummary from_bytes(const std::string& bytes);
};

class ImageDataset {
 public:
  /// Throws DataError if the file is missing, not HDF5 or truncated; lacks the split (the message
  /// names those it has), its images, or some of their values (hdf5_storage.hpp); has no samples,
  /// another rank or type than above, or labels that do not fit.
  ImageDataset(const std::string& path, const std::string& split,
               const DatasetOptions& options = {});
  /// The same under a map, over all its files. Throws as above and as ArrayView, for samples that
  /// cannot be stacked or reshaped as the map says, and ConfigError as source_of.
  ImageDataset(const DataMap& map, const std::string& split, const DatasetOptions& options = {});

  ImageDataset(ImageDataset&&) noexcept;
  ~ImageDataset();

  /// The file, or the first of several and how many more.
  const std::string& path() const { return path_; }
  const std::vector<std::string>& files() const;
  const std::string& split() const { return split_; }
  /// "FILE.h5, dataset "/train/images"": how a message begins.
  std::string where() const;
  int64_t size() const;
  /// The shape of one example: (C, H, W), or whatever continuous data has.
  const std::vector<int64_t>& example_shape() const { return example_shape_; }
  /// Dimensions of one example.
  int64_t dims() const;
  DataKind kind() const { return levels() > 0 ? DataKind::discrete : DataKind::continuous; }
  /// Of discrete data; 0: continuous.
  int64_t levels() const;
  /// The values of some examples that are there: all of them, or (n) without the missing ones.
  torch::Tensor present(const torch::Tensor& examples) const;
  /// uint8, float32 or float64.
  torch::Dtype dtype() const { return dtype_; }
  /// Of the first file's first array.
  const Hdf5ArrayInfo& storage() const;
  /// Samples stored together, for ShuffleOptions::block_rows.
  int64_t block_rows() const;

  bool has_labels() const { return labels_.defined(); }
  /// (N) int64, all >= 0; undefined without labels.
  const torch::Tensor& labels() const { return labels_; }
  /// Largest label + 1; 0 without labels.
  int64_t num_classes() const;
  /// Throws DataError naming the first label that is not below `num_classes`, or saying that
  /// there are none.
  void check_labels(int64_t num_classes) const;

  /// Samples in the order asked for. One thread at a time. Throws DataError naming an index outside
  /// the split, or the first sample of continuous data that is not finite (a NaN that marks missing
  /// values apart) or of discrete data that holds a value which is no level.
  Batch read(const std::vector<int64_t>& indices);

  /// The conditions alone. Throws DataError naming one that has no finite values.
  ConditionValues read_conditions(const std::vector<int64_t>& indices);
  /// Shape for one sample in the file. REQUIRES a condition of that name.
  const std::vector<int64_t>& condition_shape(const std::string& name) const;
  /// "FILE.h5, dataset "/energies"", to begin a message about it.
  const std::string& condition_where(const std::string& name) const;

  /// How many samples of this split are samples of the other one too: the same places of the same
  /// arrays of the same files, as splits that overlap have. Linear in both sizes.
  int64_t shared_with(const ImageDataset& other) const;

  /// The examples alone, whatever their values are.
  torch::Tensor read_values(const std::vector<int64_t>& indices);

  /// Reads the split once, on one rank if the options say so. The fingerprint (XXH3, 128 bit) is
  /// over shape, type, all labels, the rows of a block (a run's order follows them) and the values:
  /// all of them up to 256 MiB; of larger splits 256 MiB (at least 64 blocks) spread evenly, first
  /// and last among them, so that there a change of a few samples may be missed. Equal for copies
  /// wherever they lie. Throws as read.
  DatasetSummary summary();
  /// summary().fingerprint.
  std::string fingerprint();
  /// Digest of the first and the last sample: tells copies on different machines apart.
  std::string glance();

 private:
  DatasetSummary look_through();
  SplitListing open(const DataMap& map, const DatasetOptions& options);
  void take(SplitListing listing, const DataMap& map, const DatasetOptions& options);
  void open_conditions(const DataMap& map, const SplitSource& source, const DatasetOptions& options,
                       const ConditionListing& found);
  void name_files(const std::vector<std::string>& files);
  void check_images() const;
  void find_shape(const DataMap& map);
  std::string labels_where() const;
  void check_values(const Batch& batch) const;

  std::string path_;
  std::string split_, labels_array_;
  int64_t asked_levels_;
  std::optional<double> missing_;
  OnOneRank on_one_rank_;
  SampleArrays arrays_;
  torch::Dtype dtype_ = torch::kUInt8;
  std::vector<int64_t> example_shape_;
  torch::Tensor labels_;
  std::unique_ptr<ConditionReaders> conditions_;
};

/// The splits of a file: the groups that hold `images`, sorted. Throws DataError naming a broken
/// link among them.
std::vector<std::string> splits_of(const Hdf5File& file);

}  // namespace scorenet::data
