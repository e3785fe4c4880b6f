// The pieces a U-Net is made of, with the names, order and constants of diffusers' UNet2DModel, so
// that weights map one to one.
//
// Residual block: DDPM's (Ho et al. 2020, 2006.11239, appendix B): norm, SiLU, conv, + time, norm,
// SiLU, dropout, conv, + input. Self-attention over pixels with a residual connection. Down: conv
// of stride 2. Up: nearest, then conv. ADM's variants (Dhariwal & Nichol 2021, 2105.05233, section
// 3): the time scales and shifts behind the second norm; blocks that resample their input and what
// goes into their first conv.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <memory>
#include <string>
#include <vector>

#include "models/grid.hpp"
#include "models/score_network.hpp"

namespace scorenet::models {

struct NormOptions {
  int64_t groups = 16;
  double eps = 1e-5;
};

/// Group norm over `channels`. Throws ConfigError, naming `where`, if the groups do not
/// divide the channels.
torch::nn::GroupNorm make_group_norm(const NormOptions& options, int64_t channels,
                                     const std::string& where);

/// The key of a network's `layer`-th dropout, below kMostDropoutLayers.
RandomKey dropout_key(RandomKey key, int64_t layer);
constexpr int64_t kMostDropoutLayers = 512;

/// x times an inverted dropout mask (0 or 1 / (1 - probability)) that depends on (slots, layer)
/// alone. Null slots or probability 0: x itself. `layer` numbers the dropouts of one network, whose
/// masks are independent.
torch::Tensor slot_dropout(const torch::Tensor& x, double probability, int64_t layer,
                           const BatchSlots* slots);

/// Three places along each axis, padding 1: keeps the sizes.
Convolution conv3(int64_t in_channels, int64_t out_channels, const Boundaries& boundaries);

/// The GPU route's 3x3 convolution (kernels/channels_last.hpp): x in any layout, computed in
/// autocast's dtype.
torch::Tensor conv3x3_channels_last(const torch::Tensor& x, const ConvolutionImpl& conv);

/// input.given.labels, or where they are undefined num_classes ("no label") for the whole batch:
/// (B) int64. Throws ConfigError if labels are given to a network without classes.
torch::Tensor labels_or_none(const NetworkInput& input, int64_t num_classes);

enum class Resampling { none, half, twice };

struct ResidualBlockOptions {
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  int64_t time_channels = 0;
  NormOptions norm;
  double dropout = 0.0;
  int64_t dropout_layer = 0;
  Boundaries boundaries = Boundaries(2);
  bool scale_shift = false;
  Resampling resampling = Resampling::none;
};

class ResidualBlockImpl : public torch::nn::Module {
 public:
  explicit ResidualBlockImpl(const ResidualBlockOptions& options);
  /// x: (B, in, ...), one axis a boundary. activated_time: (B, time_channels), SiLU already
  /// applied, once for all blocks. residual: x again, for recomputed(); or undefined.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& activated_time,
                        const BatchSlots* dropout, const torch::Tensor& residual = {});
  /// The same without dropout on padded NHWC tensors (kernels/fast_path.hpp), of x and skip read as
  /// one; skip may be undefined. REQUIRES neither scale_shift nor a resampling, as
  /// forward_channels_last does.
  torch::Tensor forward_padded(const torch::Tensor& x, const torch::Tensor& skip,
                               const torch::Tensor& activated_time);
  /// The same on channels-last tensors (kernels/channels_last.hpp). shift: (B, out)
  /// float32, the sum of the time's part and the first convolution's bias, added before the
  /// second norm (shifts_of).
  torch::Tensor forward_channels_last(const torch::Tensor& x, const torch::Tensor& shift,
                                      const BatchSlots* dropout);

  /// Of x's shape but for the channels, or as the block resamples it.
  torch::Tensor resampled(const torch::Tensor& x) const;
  /// Which of its network's residual blocks this is.
  int64_t number() const { return options_.dropout_layer; }

 private:
  // The second norm, and the time before or behind it.
  torch::Tensor norm_with_time(const torch::Tensor& h, const torch::Tensor& time);
  friend std::vector<torch::Tensor> shifts_of(
      const std::vector<std::shared_ptr<ResidualBlockImpl>>& blocks,
      const torch::Tensor& activated_time);

  ResidualBlockOptions options_;
  torch::nn::GroupNorm norm1_;
  Convolution conv1_;
  torch::nn::Linear time_emb_proj_;
  torch::nn::GroupNorm norm2_;
  Convolution conv2_;
  Convolution conv_shortcut_{nullptr};  // 1x1, only where the channels change
};
TORCH_MODULE(ResidualBlock);

/// forward_channels_last's shift of every block, in their order: one product for all of them.
std::vector<torch::Tensor> shifts_of(const std::vector<std::shared_ptr<ResidualBlockImpl>>& blocks,
                                     const torch::Tensor& activated_time);

class AttentionBlockImpl : public torch::nn::Module {
 public:
  /// head_dim 0: one head of all channels; norm.groups 0: no norm, which forward alone computes.
  /// Throws ConfigError if head_dim does not divide the channels.
  AttentionBlockImpl(int64_t channels, int64_t head_dim, const NormOptions& norm);
  /// (B, channels, ...) -> the same.
  torch::Tensor forward(const torch::Tensor& x);
  /// The same on a padded NHWC tensor.
  torch::Tensor forward_padded(const torch::Tensor& x);
  /// The same on a channels-last tensor.
  torch::Tensor forward_channels_last(const torch::Tensor& x);

 private:
  // (B, tokens, channels), normed -> what is added to the input, of the same shape.
  torch::Tensor mix(const torch::Tensor& h);
  // The same with one product for queries, keys and values.
  torch::Tensor mix_by_one_product(const torch::Tensor& h);
  torch::Tensor attend_and_join(const torch::Tensor& q, const torch::Tensor& k,
                                const torch::Tensor& v);

  int64_t heads_;
  torch::nn::GroupNorm group_norm_{nullptr};
  torch::nn::Linear to_q_;
  torch::nn::Linear to_k_;
  torch::nn::Linear to_v_;
  torch::nn::ModuleList to_out_;
};
TORCH_MODULE(AttentionBlock);

class DownsampleImpl : public torch::nn::Module {
 public:
  /// padding 1: both ends of each axis; padding 0: one place behind it (the original DDPM's).
  DownsampleImpl(int64_t channels, int64_t padding, const Boundaries& boundaries);
  /// (B, C, ...) with even axes -> half as long.
  torch::Tensor forward(const torch::Tensor& x);
  /// The same on a padded NHWC tensor.
  torch::Tensor forward_padded(const torch::Tensor& x);
  /// The same on a channels-last tensor.
  torch::Tensor forward_channels_last(const torch::Tensor& x);

 private:
  int64_t padding_;
  Boundaries boundaries_;
  Convolution conv_;
};
TORCH_MODULE(Downsample);

class UpsampleImpl : public torch::nn::Module {
 public:
  UpsampleImpl(int64_t channels, const Boundaries& boundaries);
  /// (B, C, ...) -> each axis twice as long.
  torch::Tensor forward(const torch::Tensor& x);
  /// The same on a padded NHWC tensor.
  torch::Tensor forward_padded(const torch::Tensor& x);
  /// The same on a channels-last tensor.
  torch::Tensor forward_channels_last(const torch::Tensor& x);

 private:
  Convolution conv_;
};
TORCH_MODULE(Upsample);

}  // namespace scorenet::models
