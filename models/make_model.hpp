// Names from a config meet networks here. The next network is one file, its test, and one line
// in the table.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "models/options.hpp"

namespace scorenet::models {

class ScoreNetwork;

struct ModelOptions {
  std::string type = "unet";
  UNetOptions unet;
  MLPOptions mlp;
  DiTOptions dit;
  uint64_t seed = 0;  // of the initial weights
};

/// A network for examples of example_shape, (D), (C, L), (C, H, W) or (C, D, H, W), float32 on the
/// CPU, its weights a function of options.seed alone. Throws ConfigError that lists the names for
/// an unknown type, or names the option that does not fit; ShapeError if the network cannot take
/// such examples.
///
/// unet, dit: the zero function at first. unet: the last convolution, and the last layer of each
/// residual and attention block, are zero (Ho et al. 2020, Karras et al. 2022); dit: the gates and
/// the last layer. All other matrices are Xavier uniform, biases zero. mlp: LeCun normal.
std::shared_ptr<ScoreNetwork> make_model(const ModelOptions& options,
                                         c10::IntArrayRef example_shape);

}  // namespace scorenet::models
