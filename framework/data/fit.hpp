// Does a data set fit what a model was made for? One check for the trainer, its dry run and every
// evaluation, before any work.
//
// The check compares the examples' shape, the kind (discrete or continuous) and the labels. It
// also checks that values can be read, are finite and lie in the model's range: a model of values
// in [-1, 1] gives numbers for values in 0..255 too, but they mean nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/core/pixels.hpp"
#include "framework/data/image_dataset.hpp"

namespace scorenet::data {

/// What is known about the data that a model was trained on; stored in its snapshots.
struct DataTraits {
  std::optional<DataKind> kind;     // none: an older snapshot, or another program's network
  std::optional<ValueRange> range;  // of continuous data, in the file's units
  int64_t levels = kPixelLevels;    // of discrete data
};

DataTraits traits_of(const DatasetSummary& summary);
/// Kind and range as text, "discrete" (of 256 levels), "discrete 2" or "continuous -1 1", and back.
/// Text of another form gives neither kind nor range.
std::string to_text(const DataTraits& traits);
DataTraits traits_from_text(const std::string& text);

/// What a model expects.
struct ExpectedData {
  std::string name;  // who expects it, for messages: a snapshot's path, "the training split"
  std::vector<int64_t> example_shape;  // empty: not compared here
  DataTraits traits;
  int64_t num_classes = 0;  // > 0: every sample needs a label below it
};

/// Checks shape, kind and labels, and reads the first n samples (0: all). Throws DataError naming
/// the data set, what differs and what was expected: the first label that is too large, the first
/// sample that is not finite, or the range of values if most of them lie more than ten training
/// ranges away.
void check_fit(const ExpectedData& expected, ImageDataset& dataset, int64_t n);

/// data.flip mirrors along the width. Throws ConfigError if examples have none (points, series).
void check_has_width(const ImageDataset& dataset);

}  // namespace scorenet::data
