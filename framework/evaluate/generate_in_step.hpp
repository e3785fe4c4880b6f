// Samples that all ranks draw in step, for the predictor-corrector method: its published form
// couples the samples of a batch.
#pragma once

#include "framework/evaluate/generate.hpp"

namespace scorenet::evaluate {

/// As generate(), but every rank computes its share of the seeds as one batch, and `pc` takes its
/// step size from norms averaged over the whole global batch, as score_sde does (Song et al. 2021,
/// 2011.13456, alg. 4 and 5). A sample then depends on the other seeds too, and on the rank count
/// only through the rounding of two sums. Collective at every corrector step. Throws ConfigError
/// for another sampler, and for fewer seeds than ranks.
Generated generate_in_step(const score::ScoreModel& model, c10::IntArrayRef example_shape,
                           const std::vector<int64_t>& seeds,
                           const diffusion::SamplerOptions& sampler,
                           const GuidanceOptions& guidance, comm::Communicator& comm);

}  // namespace scorenet::evaluate
