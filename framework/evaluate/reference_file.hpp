// Moments of the features of a data set, kept in a file: what `fd` compares samples with in place
// of the data.
//
// HDF5 with the data sets `mean` (D) and `covariance` (D, D), float64; EDM's names `mu` and `sigma`
// are read too. Attributes of the root: `n`, the number of examples; `extractor`, whose features
// they are; `extractor_digest`, XXH3 of the extractor's file, where it is known.
// launch/export_inception.py writes one from a published .npz.
#pragma once

#include <string>

#include "framework/evaluate/feature_extractor.hpp"
#include "framework/metrics/frechet.hpp"

namespace scorenet::evaluate {

struct Reference {
  metrics::Moments moments;
  std::string extractor;
  std::string digest;  // "": not known
};

/// Throws ConfigError for a .npz or .pkl file, DataError for one that lacks moments, or whose
/// moments are not finite, not symmetric or of other shapes.
Reference read_reference(const std::string& path);

/// Throws ConfigError if the reference is known to be of other features than the extractor's.
void check_extractor(const Reference& reference, const std::string& path,
                     const FeatureExtractor& extractor);

/// An older file is replaced. Throws DataError.
void write_reference(const std::string& path, const Reference& reference);

}  // namespace scorenet::evaluate
