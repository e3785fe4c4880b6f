// Samples from a model, one for each seed, on any number of ranks.
#pragma once

#include <torch/types.h>

#include <functional>
#include <string>
#include <vector>

#include "framework/comm/communicator.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/data/shard.hpp"
#include "framework/diffusion/sampler/sampler.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::evaluate {

/// What samples are told beside a label, as files hold it. A model makes its own of it, so that one
/// source serves the networks that guide, too.
struct ToldSamples {
  /// Of samples first, first + 1, ... in the order of their seeds, for any thread; null: nothing is
  /// told.
  std::function<data::ConditionValues(int64_t first, int64_t count)> read = {};
  /// "FILE.h5, dataset "/energies"", for messages.
  std::function<std::string(const std::string& name)> where = {};

  data::ConditionValues values(int64_t first, int64_t count) const {
    return read ? read(first, count) : data::ConditionValues();
  }
};

/// Sample i is told what sample i of the data set is, from the first again behind the last. The
/// data set must outlive this.
ToldSamples told_as(data::ImageDataset& dataset);

/// The same from sample `first` on.
ToldSamples told_from(const ToldSamples& told, int64_t first);

/// The values that score::file_values needs of these samples.
data::ConditionValues divided_by(const score::ScoreModel& model, const ToldSamples& told,
                                 int64_t first, int64_t count);

struct GuidanceOptions {
  /// Classes asked for, dealt to the samples in turn, in the order of the seeds; empty: none.
  std::vector<int64_t> labels = {};
  /// Instead: each sample's class is drawn by its seed, uniformly, as EDM's generator does.
  bool random_labels = false;
  double weight = 1.0;          // classifier-free: 0 unconditional, 1 conditional, > 1 guided
  double log_snr_min = -1e300;  // guided only within this interval
  double log_snr_max = 1e300;
  /// Autoguidance: a worse model to move away from, instead of the unconditional one.
  const score::ScoreModel* weak = nullptr;
  /// Classifier guidance: the score without a label plus weight grad log p(label | x_t), so that
  /// weight 1 is the class's own.
  const score::ScoreModel* classifier = nullptr;
  ToldSamples told = {};
};

/// The classes of these samples: those asked for, in turn; empty: none.
std::vector<int64_t> dealt_labels(const std::vector<int64_t>& labels, const data::Range& samples);

/// One class a seed, uniform on 0 .. classes - 1: a function of the seed alone.
std::vector<int64_t> labels_by_seed(const std::vector<int64_t>& seeds, int64_t classes);

/// The guidance with the classes of these seeds, where they are drawn by seed. Throws ConfigError
/// if the model (or the classifier that guides) knows none.
GuidanceOptions with_labels(const score::ScoreModel& model, const GuidanceOptions& guidance,
                            const std::vector<int64_t>& seeds);

/// The model's denoiser for these samples, by their places in the order of the seeds, under
/// guidance. Throws ConfigError for a label that the model or the classifier does not know, for a
/// classifier that does not fit the model, for rules that cannot be combined, and for a model that
/// cannot do without conditions which are not told.
diffusion::Denoiser guided_denoiser(const score::ScoreModel& model, const GuidanceOptions& guidance,
                                    const data::Range& samples);

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

/// The same under these options: with numbered steps always "state".
std::string usual_final(const diffusion::SamplerOptions& sampler, c10::IntArrayRef example_shape);

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
