// What the converters share: reading whole files, and cutting one array into splits.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <string>

#include "framework/data/convert.hpp"
#include "framework/data/dataset_writer.hpp"
#include "framework/data/notes.hpp"

namespace scorenet::data {

/// How many samples to hold out for validation by default: a tenth of `total`, at least one and at
/// most 5,000; none of a single sample.
int64_t usual_validation(int64_t total);

/// Notes that `count` of `total` samples were held out by default; which: "the last".
void tell_hold_out(Notes& notes, int64_t count, int64_t total, const std::string& which);

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

/// Train and validation of a published training set of `total` samples; notes a hold-out by
/// default.
SplitSizes train_sizes(int64_t total, const ConvertOptions& options, Notes& notes);

/// "train: samples 0 to 54999 of SOURCE; validation: ...": the attribute split_rule.
std::string split_rule(const SplitSizes& sizes, const std::string& source);

/// Writes the parts. labels: (N), or undefined.
void write_splits(DatasetWriter& writer, const SplitSizes& sizes, const torch::Tensor& images,
                  const torch::Tensor& labels);

}  // namespace scorenet::data
