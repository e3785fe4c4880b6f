// Convert published data sets to this program's HDF5 file. One function for each published form.
//
// Every function writes splits of `images` and, where known, `labels`, records the source and the
// rule of the split as attributes "source" and "split_rule" of the file, and makes the file appear
// whole. They throw DataError if the source is missing or damaged or the target exists, and
// ConfigError for options that do not fit. They return lines for the user: what was held out, left
// out, rotated or reduced.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "framework/data/hdf5.hpp"
#include "framework/data/picture_folder.hpp"

namespace scorenet::data {

struct ConvertOptions {
  std::filesystem::path out;
  bool overwrite = false;
  Hdf5Storage storage;  // contiguous unless asked otherwise: the fastest to read
  // Samples held out of the training data. Without a value: a tenth, at most 5,000, if the source
  // has no such split.
  std::optional<int64_t> validation;
  int64_t test = 0;  // samples held out for a test split; for folders, zip files and arrays only
  FolderLayout layout = FolderLayout::automatic;  // for folders only
};

/// Which axis of an array holds the channels. unsaid: the second axis; an array whose last axis
/// looks like channels is refused.
enum class ChannelAxis { unsaid, first, last };

/// A folder with the four files of the MNIST family (train-images-idx3-ubyte, ...,
/// t10k-labels-idx1-ubyte; a dot before idx is accepted), plain or with .gz: train, validation
/// (its last samples) and test. Their MD5 is compared with that of Fashion-MNIST. The result is
/// reported, and no file is refused for it.
std::vector<std::string> convert_idx(const std::filesystem::path& folder,
                                     const ConvertOptions& options);

/// A folder with CIFAR-10's binary version (data_batch_1.bin to data_batch_5.bin,
/// test_batch.bin; records of one label byte and 3 x 32 x 32 pixels): train, validation
/// (the last samples) and test.
std::vector<std::string> convert_cifar10(const std::filesystem::path& folder,
                                         const ConvertOptions& options);

/// PNG, JPEG and WebP pictures of one size, in the structures of find_pictures. Classes are
/// numbered in the order of their sorted names, kept in the data set /classes. Files are shuffled
/// with a fixed seed. Where there are no folders of splits, the last `test` files and the
/// `validation` files before them are split off. All become colour unless every one is grey.
std::vector<std::string> convert_folder(const std::filesystem::path& folder,
                                        const ConvertOptions& options);

/// A zip file of pictures of one size with dataset.json, as EDM's and StyleGAN's dataset_tool.py
/// write it (convert_zip.cpp): labels are its numbers. Files are shuffled and split as those of a
/// folder without splits.
std::vector<std::string> convert_zip(const std::filesystem::path& path,
                                     const ConvertOptions& options);

/// NumPy arrays. images: uint8 (N, C, H, W), (N, H, W), or with the channels last (N, H, W, C); or
/// float32 or float64 (N, ...). labels: integers (N), or an empty path. The rows are train,
/// validation and test in this order; without options.validation, it is drawn from those before
/// test.
std::vector<std::string> convert_npy(const std::filesystem::path& images,
                                     const std::filesystem::path& labels, ChannelAxis channels,
                                     const ConvertOptions& options);

/// Copies a file of this program: its splits are stored as options.storage says, all attributes and
/// other objects stay unchanged.
std::vector<std::string> rechunk(const std::filesystem::path& in, const ConvertOptions& options);

/// Two-dimensional data in float64 (N, 2); sizes: samples of each split. kinds:
///   swiss-roll    t = 1.5 pi (1 + 2 U), ((t cos t, t sin t) + 0.5 N(0, I)) / 6.865
///   gaussians25   5 x 5 grid of spacing 2 centred at 0, plus 0.05 N(0, I), divided by 2.828;
///                 labels: the component
///   gaussian      N(0, I)
/// The first two as in Hirono, Tanaka and Fukushima 2024, arXiv:2403.11262. Sample i of a split
/// is a function of (seed, split, i); in gaussians25 it lies at grid point i mod 25, so that
/// counts are equal.
void synthesize(const std::string& kind, const std::map<std::string, int64_t>& sizes, uint64_t seed,
                const ConvertOptions& options);

}  // namespace scorenet::data
