// How many examples a rank can compute at once: memory measured in two small steps, and the batch
// that it predicts tried out.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "framework/score/score_model.hpp"

namespace scorenet::train {

struct BatchMemory {
  int64_t bytes_an_example = 0;  // of the forward and backward pass
  int64_t fixed_bytes = 0;       // of a pass, whatever its batch: gradients, lowered weights
  int64_t available_bytes = 0;   // to this rank, above its weights, before anything is computed
  int64_t largest_batch = 0;     // 0: not one example fits
};

/// The most examples whose forward and backward pass fits beside `state_bytes` of moments and
/// averages. On a GPU of the device's memory; on a CPU of the host's free memory,
/// of which this rank takes 1 / ranks_of_host. A tenth is left free. `batch`: the size around which
/// is measured. Computes on this rank alone, and tries the result on GPUs. Leaves the parameters
/// without gradients.
BatchMemory measure_batch_memory(const score::ScoreModel& model, c10::IntArrayRef example_shape,
                                 int64_t batch, int64_t state_bytes, int ranks_of_host);

}  // namespace scorenet::train
