// What stands beside the network in a pipeline's folder of diffusers.
//
// DDPMPipeline tells a network the number i of its scheduler's step. A network of numbered steps
// has a scheduler of its own. One that is told u = 25 (20 - log_snr) (models/embedding.hpp) gets
// steps of 1 / 25 nat: betas that are written out, with log_snr_i = clean - i / 25, so that u =
// u_0 + i. The shift by u_0 turns every pair of sine and cosine of the embedding by a fixed angle,
// and that rotation goes into the first layer behind it: the network is told i and computes what it
// computed of u.
//
// Where DDPMPipeline cannot sample, because the variance is not preserved, the prediction is none
// of diffusers', or a label is asked for, a pipeline.py does so.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/score/snapshot.hpp"

namespace scorenet::score {

/// Under this name a folder keeps the layer as it was before the rotation.
inline constexpr char kUnturnedLayer[] = "scorenet.time_embedding.linear_1.weight";

/// The texts of a pipeline's files, "" for those that it does not need, and the network's weights.
struct DiffusersPipeline {
  checkpoint::TensorMap weights;
  std::string model_index, scheduler, pipeline, readme;
};

/// weights: the snapshot's. kept_scheduler: the text that an imported network came with, or "".
/// Throws CheckpointError where neither a scheduler nor pipeline.py can sample from it.
DiffusersPipeline make_pipeline(const LoadedSnapshot& snapshot, checkpoint::TensorMap weights,
                                const std::string& kept_scheduler);

/// The weights of such a folder as the snapshot had them.
void turn_back(checkpoint::TensorMap& weights);

}  // namespace scorenet::score
