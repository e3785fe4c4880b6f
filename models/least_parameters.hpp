// A lower bound on the size of a network before it is made: a config from a file may ask for one
// that does not fit into memory.
#pragma once

#include <c10/util/ArrayRef.h>

#include "models/make_model.hpp"

namespace scorenet::models {

/// A lower bound of the number of parameters of make_model(options, example_shape), or of the
/// classifier with these options. Counts the large matrices alone, so it is below the true number
/// and, for every config, above some tenth of it. Overflows nothing.
double least_parameters(const ModelOptions& options, c10::IntArrayRef example_shape);

}  // namespace scorenet::models
