// sample --like FILE --out OUT.h5: samples as a file like the one that was trained on.
//
// Drawn in parts (drawn_parts.hpp), each rank its own, so that a long draw needs the memory of one
// part, shows how far it is, and goes on where it was killed. Rank zero then writes them, in the
// order of the seeds, and removes them.
#pragma once

#include <string>
#include <vector>

#include "framework/comm/communicator.hpp"
#include "framework/core/error.hpp"
#include "framework/evaluate/generate.hpp"
#include "launch/model_arguments.hpp"

namespace scorenet::launch {

struct LikeRequest {
  std::string like, out;
  std::vector<int64_t> seeds;
  diffusion::SamplerOptions sampler;
  evaluate::GuidanceOptions guidance;
  int64_t batch = 64;
  std::string settings;  // as text: what the samples depend on besides weights and seeds
};

/// Collective. Throws CheckpointError where OUT.h5.parts is another job's or cannot be written,
/// DataError and ConfigError as data::LikeWriter, NotFiniteError once all is written if a sample is
/// not finite.
ExitCode sample_like(const LikeRequest& request, const LoadedModel& loaded,
                     comm::Communicator& comm);

}  // namespace scorenet::launch
