// Networks to and from the folders of Hugging Face diffusers (UNet2DModel.save_pretrained,
// or a pipeline's).
//
// The U-Net's modules have diffusers' names, so weights are copied one to one. Two things differ
// and are translated:
//   noise level   diffusers' networks are told a step i. An imported one keeps its steps
//                 (model.timesteps), and a level between two steps is interpolated in log-SNR, so
//                 every schedule, sampler and evaluator works on it.
//   no label      ours has one more class row, "no label": zeros for an imported network, a class
//                 of its own in an exported one.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace scorenet::score {

/// A pipeline's folder (unet/, scheduler/), or a network's with scheduler/scheduler_config.json
/// or scheduler_config.json in it or beside it in its pipeline. Weights of any variant and in
/// any number of files (diffusers_weights.hpp). A folder without a scheduler is refused, since its
/// noise levels would be a guess. If it throws, nothing is written:
///   - CheckpointError for a folder that lacks a file;
///   - ConfigError naming file, key and value for a network or a scheduler that this program does
///     not have (diffusers_network.hpp, diffusers_scheduler.hpp);
///   - NotFiniteError for weights that are not finite.
void snapshot_from_diffusers(const std::filesystem::path& folder,
                             const std::filesystem::path& snapshot);

/// Writes a pipeline's folder: model_index.json, unet/ (with scorenet.toml, by which the folder can
/// be converted back), scheduler/ or pipeline.py (diffusers_pipeline.hpp), and a README.md that
/// says how to sample from it. A network with numbered steps keeps the scheduler that it came with.
/// Throws CheckpointError for a snapshot that is not a U-Net, has Fourier features (UNet2DModel has
/// none), or resamples as no UNet2DModel does. Throws NotFiniteError for weights that are not
/// finite. Nothing is written then.
void snapshot_to_diffusers(const std::filesystem::path& snapshot,
                           const std::filesystem::path& folder);

/// The files that snapshot_to_diffusers may write, relative to its folder.
std::vector<std::string> diffusers_files();

}  // namespace scorenet::score
