// From the forms data sets are published in to this program's HDF5 file. One function a form.
//
// Every function writes splits of `images` and, where known, `labels`, records the source and the rule of the split
// as attributes "source" and "split_rule" of the file, and makes the file appear whole. They throw DataError if the
// source is missing or damaged or the target exists, and ConfigError for options that do not fit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "framework/data/hdf5.hpp"

namespace scorenet::data {

struct ConvertOptions {
  std::filesystem::path out;
  bool overwrite = false;
  Hdf5Storage storage;  // contiguous unless asked otherwise: the fastest to read
  std::optional<int64_t>
      validation;    // samples split off the end of the training data; see each function
  int64_t test = 0;  // likewise for a test split; for folders and arrays only
};

/// A folder with the four files of the MNIST family (train-images-idx3-ubyte, ..., t10k-labels-idx1-ubyte), plain or
/// with .gz: train, validation (default: the last 5,000 of the training file) and test. If any of the four has the
/// MD5 of Fashion-MNIST, or the folder is named so, all four must.
void convert_idx(const std::filesystem::path& folder, const ConvertOptions& options);

/// A folder with CIFAR-10's binary version (data_batch_1.bin to data_batch_5.bin, test_batch.bin; records of one
/// label byte and 3 x 32 x 32 pixels): train, validation (default: the last 5,000) and test.
void convert_cifar10(const std::filesystem::path& folder, const ConvertOptions& options);

/// folder/CLASS/*.png or .jpg, all of one size; classes are numbered in the order of their sorted names (attribute
/// "classes"). If the folder holds folders train, validation or test, each of these is a split. Otherwise files are
/// shuffled with a fixed seed and the last `test` and the `validation` (default 0) before them are split off.
/// All images become colour unless every one is grey.
void convert_folder(const std::filesystem::path& folder, const ConvertOptions& options);

/// NumPy arrays. images: uint8 (N, C, H, W), (N, H, W), or with channels_last (N, H, W, C); or float32 or float64
/// (N, ...). labels: integers (N), or an empty path. In order: train, validation (default 0), test.
void convert_npy(const std::filesystem::path& images, const std::filesystem::path& labels,
                 bool channels_last, const ConvertOptions& options);

/// All splits and attributes of another file of ours, stored as options.storage says.
void rechunk(const std::filesystem::path& in, const ConvertOptions& options);

/// Two-dimensional sets in float64 (N, 2), of the sizes given for each split, from `seed`. kinds:
///   swiss-roll    t = 1.5 pi (1 + 2 U), ((t cos t, t sin t) + 0.5 N(0, I)) / 6.865
///   gaussians25   5 x 5 grid of spacing 2 centred at 0, plus 0.05 N(0, I), divided by 2.828; labels: the component
///   gaussian      N(0, I)
/// The first two as in Hirono, Tanaka and Fukushima 2024, arXiv:2403.11262. Sample i of a split is a function of
/// (seed, split, i); in gaussians25 it lies at grid point i mod 25, so that counts are equal.
void synthesize(const std::string& kind, const std::map<std::string, int64_t>& sizes, uint64_t seed,
                const ConvertOptions& options);

}  // namespace scorenet::data
