// What a checkpoint holds besides the weights, on whichever rank it lies.
#pragma once

#include <torch/types.h>

#include <string>

namespace scorenet::train {

/// A flat buffer with a value for each weight. Update::whole and Update::keep hide which
/// rank stores what.
struct StateBuffer {
  enum class Kind {
    replicated,  // equal on all ranks
    sharded,     // each rank has its part (GradientSum::is_sharded)
    summed,      // the state is the sum over the ranks
  };
  std::string file;    // "optimizer.safetensors"
  std::string prefix;  // before a parameter's name: "adamw.first_moment."
  torch::Tensor values;
  Kind kind = Kind::replicated;
  bool optional = false;  // a checkpoint without it is complete
};

/// A tensor of any shape that is equal on all ranks.
struct StateTensor {
  std::string file;
  std::string name;
  torch::Tensor values;
  bool optional = false;
};

}  // namespace scorenet::train
