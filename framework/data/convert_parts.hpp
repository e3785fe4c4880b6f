// What the converters share: reading whole files, and cutting one array into splits.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <string>

#include "framework/data/convert.hpp"
#include "framework/data/dataset_writer.hpp"

namespace scorenet::data {

/// The default of ConvertOptions::validation where a published set has none of its own.
inline constexpr int64_t kUsualValidation = 5000;

/// The decoded bytes of a plain or gzip file. Throws DataError if it is missing, or ends early.
std::string read_maybe_gzip(const std::filesystem::path& path);

/// Rows of one array as train, validation and test, in this order; empty splits are left out.
struct SplitSizes {
  int64_t train = 0;
  int64_t validation = 0;
  int64_t test = 0;
};

/// Sizes of the parts of `total` samples. Throws ConfigError if nothing is left to train on.
SplitSizes split_sizes(int64_t total, int64_t validation, int64_t test);

/// "train: samples 0 to 54999 of SOURCE; validation: ...": the attribute split_rule.
std::string split_rule(const SplitSizes& sizes, const std::string& source);

/// Writes the parts. labels: (N), or undefined.
void write_splits(DatasetWriter& writer, const SplitSizes& sizes, const torch::Tensor& images,
                  const torch::Tensor& labels);

}  // namespace scorenet::data
