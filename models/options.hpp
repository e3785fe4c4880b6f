// The options of the networks, one struct for each. The config holds these structs themselves, so
// they know nothing of LibTorch. Each key of the table [model] is one of their members.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace scorenet::models {

/// What a network is told of each example beside its noise level and label (conditions.hpp).
struct ConditionSizes {
  int64_t numbers = 0;   // of all its vectors, one behind the other
  int64_t channels = 0;  // of all its fields
  int64_t augment = 0;   // numbers that say how an example was augmented; all 0: not at all

  bool any() const { return numbers + channels > 0; }
};

/// The keys of the config table [model] for type = unet.
struct UNetOptions {
  /// A level each. Every level but the last halves every axis.
  std::vector<int64_t> channels = {32, 64, 64};
  int64_t layers_per_block = 1;  // residual blocks a level on the way down; one more on the way up
  std::vector<bool> attention = {};  // a flag a level; empty: none. The middle has its own
  bool mid_attention = true;
  int64_t mid_norm_groups = -1;  // of its norm; 0: it has none; -1: norm_groups
  bool scale_shift = false;      // the level scales a block's second norm too (ADM), not only adds
  /// A flag a level: its resampling is a residual block around a mean of neighbours or a
  /// repetition (ADM), not a convolution. Empty: none.
  std::vector<bool> residual_resampling = {};
  int64_t attention_head_dim = 8;  // 0: one head of all channels
  int64_t norm_groups = 16;        // must divide every level's channels
  double norm_eps = 1e-5;
  double dropout = 0.0;     // in [0, 1)
  int64_t num_classes = 0;  // 0: no label
  ConditionSizes conditions = {};
  int64_t downsample_padding = 1;                // 1, or 0 as the original DDPM
  bool cosines_first = true;                     // of the time embedding, see embedding.hpp
  double freq_shift = 0.0;                       // of the time embedding
  std::vector<double> log_snr_of_step = {};      // for weights trained on discrete steps
  std::vector<int64_t> fourier_features = {};    // VDM: {7, 8}
  bool learned_variance = false;                 // a second tensor of x's shape behind the first
  std::vector<std::string> padding = {"zeros"};  // or periodic: of all axes, or one name an axis
  bool recompute = false;                        // activations in the backward pass (recompute.hpp)
  /// auto: the CPU executor (cpu/executor.hpp) or the GPU route (kernels/channels_last.hpp) where
  /// it applies; blocks: the CPU fast path (kernels/fast_path.hpp) in the executor's place; aten:
  /// none of them. Same results to rounding.
  std::string kernels = "auto";
};

/// The keys of the config table [model] for type = mlp.
struct MLPOptions {
  std::vector<int64_t> hidden = {128, 128, 128};
  /// sinusoidal: embedding_dim sines and cosines of 25 (20 - log_snr);   scalar: log_snr / 4;
  /// angle: (2 / pi) atan(exp(-log_snr / 2)), the time of the cosine (tangent) schedule;
  /// attenuation: sqrt(-log(alpha^2) / 10), the time of vp_ramp with beta = 20.
  std::string time_embedding = "sinusoidal";
  int64_t embedding_dim = 32;  // of sinusoidal; even
  bool residual = false;       // add a layer's input where the widths agree
  double dropout = 0.0;        // behind every hidden layer, in [0, 1)
  /// 0: no label. Else a learned vector of embedding_dim joins the input.
  int64_t num_classes = 0;
  ConditionSizes conditions = {};
  bool learned_variance = false;  // a second point of x's shape behind the first
};

/// The keys of the config table [model] for type = dit.
struct DiTOptions {
  int64_t patch_size = 2;  // places of a patch along each axis; axes are padded to a multiple of it
  int64_t width = 192;     // channels of a token; a multiple of 4 and of heads
  int64_t depth = 6;       // blocks
  int64_t heads = 3;
  int64_t mlp_ratio = 4;    // hidden width of a block's perceptron / width
  double dropout = 0.0;     // in the perceptron, in [0, 1)
  int64_t num_classes = 0;  // 0: no label
  ConditionSizes conditions = {};
  bool learned_variance = false;                 // a second tensor of x's shape behind the first
  std::vector<std::string> padding = {"zeros"};  // or periodic: of all axes, or one name an axis
  bool recompute = false;                        // activations in the backward pass (recompute.hpp)
  /// auto: kernels of its own (kernels/tokens.hpp) where they apply; aten: never. Same results to
  /// rounding.
  std::string kernels = "auto";
};

/// The names that users choose by, read from the tables that give them a meaning.
std::vector<std::string> model_names();           // make_model.cpp: networks of model.type
std::vector<std::string> boundary_names();        // grid.cpp: model.padding
std::vector<std::string> time_embedding_names();  // mlp.cpp
std::vector<std::string> kernel_choices();        // unet_encoder.cpp
std::vector<std::string> precision_names();       // autocast.cpp

}  // namespace scorenet::models
