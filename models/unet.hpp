// The U-Net of DDPM (Ho et al. 2020, 2006.11239, appendix B) for images of any size.
//
// Modules, their names, order and constants are those of diffusers' UNet2DModel, so a state dict of the one is a state
// dict of the other (conv_in, time_embedding, down_blocks.i.resnets.j, .attentions.j, .downsamplers.0, mid_block,
// up_blocks, conv_norm_out, conv_out). What differs: the noise level comes as log-SNR (embedding.hpp), class
// embeddings have one more row that means "no label", and sizes that no level can halve are padded and cropped.
#pragma once

#include <torch/nn/modules/embedding.h>

#include <string>
#include <vector>

#include "models/blocks.hpp"
#include "models/embedding.hpp"
#include "models/score_network.hpp"

namespace scorenet::models {

/// The keys of the config table [model] for type = unet.
struct UNetOptions {
  std::vector<int64_t> channels = {32, 64,
                                   64};  // a level each; every level but the last halves H and W
  int64_t layers_per_block = 1;  // residual blocks a level on the way down; one more on the way up
  std::vector<bool> attention = {};  // a flag a level; empty: none. The middle always has it
  bool mid_attention = true;
  int64_t attention_head_dim = 8;  // 0: one head of all channels
  int64_t norm_groups = 16;        // must divide every level's channels
  double norm_eps = 1e-5;
  double dropout = 0.0;                        // in [0, 1)
  int64_t num_classes = 0;                     // 0: unconditional
  int64_t downsample_padding = 1;              // 1, or 0 as the original DDPM
  bool cosines_first = true;                   // of the time embedding, see embedding.hpp
  double freq_shift = 0.0;                     // of the time embedding
  std::vector<double> log_snr_of_step = {};    // for weights trained on discrete steps
  std::vector<int64_t> fourier_features = {};  // VDM: {7, 8}
};

/// What every block of one forward pass needs.
struct BlockContext {
  torch::Tensor activated_time;         // (B, 4 channels[0])
  const BatchSlots* dropout = nullptr;  // null: none
};

/// One level on the way down or up, or the middle: residual blocks, attention behind each or none, one resampling or none.
class StageImpl : public torch::nn::Module {
 public:
  StageImpl();
  void add_residual(const ResidualBlockOptions& options);
  void add_attention(int64_t channels, int64_t head_dim, const NormOptions& norm);
  void add_downsample(int64_t channels, int64_t padding);
  void add_upsample(int64_t channels);

  /// Appends every block's output, and the downsampled one, to skips.
  torch::Tensor down(torch::Tensor x, const BlockContext& context,
                     std::vector<torch::Tensor>& skips);
  /// Residual blocks with attention between them.
  torch::Tensor middle(torch::Tensor x, const BlockContext& context);
  /// Every block takes the last of skips away and reads it behind its input.
  torch::Tensor up(torch::Tensor x, const BlockContext& context, std::vector<torch::Tensor>& skips);

 private:
  torch::Tensor layer(size_t i, const torch::Tensor& x, const BlockContext& context);

  std::vector<ResidualBlock> residuals_;
  std::vector<AttentionBlock> attentions_;
  Downsample downsample_{nullptr};
  Upsample upsample_{nullptr};
};
TORCH_MODULE(Stage);

class UNetImpl : public ScoreNetwork {
 public:
  /// For images of `image_channels` channels. Throws ConfigError naming the key and value that do not fit.
  UNetImpl(const UNetOptions& options, int64_t image_channels);

  /// x: (B, image_channels, H, W) with any H, W >= 1. Throws ShapeError for another number of dimensions or channels,
  /// ConfigError for labels given to an unconditional network.
  torch::Tensor forward(const NetworkInput& input) override;

 private:
  void build_down();
  void build_middle();
  void build_up();
  ResidualBlockOptions residual(int64_t in, int64_t out);
  torch::Tensor time_features(const NetworkInput& input);

  UNetOptions options_;
  int64_t image_channels_;
  NormOptions norm_;
  int64_t dropout_layers_ = 0;
  torch::nn::Conv2d conv_in_{nullptr};
  TimeEmbedding time_embedding_{nullptr};
  torch::nn::Embedding class_embedding_{nullptr};
  std::vector<Stage> down_blocks_;
  Stage mid_block_{nullptr};
  std::vector<Stage> up_blocks_;
  torch::nn::GroupNorm conv_norm_out_{nullptr};
  torch::nn::Conv2d conv_out_{nullptr};
};
TORCH_MODULE(UNet);

/// labels, or "no label" for the whole batch where they are undefined: (B) int64. Throws ConfigError if labels are
/// given and num_classes is 0.
torch::Tensor labels_or_none(const NetworkInput& input, int64_t num_classes);

}  // namespace scorenet::models
