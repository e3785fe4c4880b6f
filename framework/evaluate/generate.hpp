// Samples from a model, one for each seed, on any number of ranks.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "framework/comm/communicator.hpp"
#include "framework/diffusion/sampler/sampler.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::evaluate {

struct GuidanceOptions {
  int64_t label = -1;           // class asked for; -1: none
  double weight = 1.0;          // classifier-free: 0 unconditional, 1 conditional, > 1 guided
  double log_snr_min = -1e300;  // guided only within this interval
  double log_snr_max = 1e300;
  /// Autoguidance: a worse model to move away from, instead of the unconditional one.
  const score::ScoreModel* weak = nullptr;
  /// Classifier guidance: the score without a label plus weight grad log p(label | x_t), so that
  /// weight 1 is the class's own.
  const score::ScoreModel* classifier = nullptr;
};

/// The model's denoiser for `batch` examples under guidance. Throws ConfigError for a label that
/// the model or the classifier does not know, for a classifier that does not fit the model, and for
/// rules that cannot be combined.
diffusion::Denoiser guided_denoiser(const score::ScoreModel& model, const GuidanceOptions& guidance,
                                    int64_t batch);

struct Generated {
  // (seeds, example_shape...) float64, in the data's [-1, 1] or continuous units; on all ranks
  torch::Tensor x;
  double nfe = 0;             // denoiser evaluations, mean over samples
  torch::Tensor path = {};    // (seeds, steps + 1, example_shape...) where sampler.keep_path
  torch::Tensor path_t = {};  // (steps + 1), from t_max
};

/// One sample for each seed. A sample depends on its seed alone, for any batch size and any number
/// of ranks. Collective.
Generated generate(const score::ScoreModel& model, c10::IntArrayRef example_shape,
                   const std::vector<int64_t>& seeds, const diffusion::SamplerOptions& sampler,
                   const GuidanceOptions& guidance, int64_t batch, comm::Communicator& comm);

/// The default of `--final`: for images (C, H, W) "denoised", the network's x0 at t_min; else
/// "state", x itself. `sample`, the grids of a training and the metrics of samples use it.
std::string default_final(c10::IntArrayRef example_shape);

/// Samples for comparison with data of so many levels: each value moves to the middle of its
/// level's bin. For continuous data, 0 levels, samples are returned unchanged.
torch::Tensor as_stored(const torch::Tensor& x, int64_t levels);

/// Samples that hold NaN or an infinity.
struct NotFinite {
  bool of_all = false;   // no sample is finite
  std::string sentence;  // how many, and the first one's seed; empty: there are none
};
/// x: (seeds, ...). REQUIRES at least one seed.
NotFinite samples_not_finite(const torch::Tensor& x, const std::vector<int64_t>& seeds);

}  // namespace scorenet::evaluate
