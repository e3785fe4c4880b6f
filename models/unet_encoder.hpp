// The contracting half of a U-Net, its options and its levels: shared by the U-Net
// and the classifier.
#pragma once

#include <torch/nn/modules/embedding.h>

#include <string>
#include <vector>

#include "models/blocks.hpp"
#include "models/condition_embedding.hpp"
#include "models/embedding.hpp"
#include "models/options.hpp"
#include "models/score_network.hpp"

namespace scorenet::models {

/// What every block of one forward pass needs.
struct BlockContext {
  torch::Tensor activated_time;            // (B, 4 channels[0])
  const BatchSlots* dropout = nullptr;     // null: none
  bool padded = false;                     // features are padded NHWC tensors: the CPU fast path
  bool whole = false;                      // the whole network is one node: the CPU executor
  bool channels_last = false;              // features are channels-last: the GPU route
  std::vector<torch::Tensor> shifts = {};  // there: shifts_of, by ResidualBlock::number()
  bool recompute = false;                  // recompute.hpp: keep no activations within a layer
  torch::Tensor residual = {};             // the layer's input again, see recompute.hpp
  torch::Tensor fields = {};               // (B, F, ...), further channels of the input, if any
};

/// One level on the way down or up, or the middle: residual blocks, attention behind each or none,
/// one resampling or none.
class StageImpl : public torch::nn::Module {
 public:
  StageImpl();
  void add_residual(const ResidualBlockOptions& options);
  void add_attention(int64_t channels, int64_t head_dim, const NormOptions& norm);
  void add_downsample(int64_t channels, int64_t padding, const Boundaries& boundaries);
  void add_upsample(int64_t channels, const Boundaries& boundaries);
  /// In their place a residual block that resamples; added last.
  void add_residual_downsample(const ResidualBlockOptions& options);
  void add_residual_upsample(const ResidualBlockOptions& options);

  /// Appends every block's output, and the downsampled one, to skips.
  torch::Tensor down(torch::Tensor x, const BlockContext& context,
                     std::vector<torch::Tensor>& skips);
  /// Residual blocks with attention between them.
  torch::Tensor middle(torch::Tensor x, const BlockContext& context);
  /// Every block takes the last of skips away and reads it behind its input.
  torch::Tensor up(torch::Tensor x, const BlockContext& context, std::vector<torch::Tensor>& skips);

 private:
  // The i-th residual block of x and skip (which may be undefined), and the attention behind
  // it, if any.
  torch::Tensor layer(size_t i, const torch::Tensor& x, const torch::Tensor& skip,
                      const BlockContext& context);
  torch::Tensor layer_recomputed(size_t i, const torch::Tensor& x, const torch::Tensor& skip,
                                 const BlockContext& context);

  void add_residual_resampling(const std::string& list, const ResidualBlockOptions& options);
  // How many residual blocks there are beside one that resamples.
  size_t layers() const { return residuals_.size() - (resamples_in_block_ ? 1 : 0); }

  std::vector<ResidualBlock> residuals_;
  bool resamples_in_block_ = false;  // the last one
  std::vector<AttentionBlock> attentions_;
  Downsample downsample_{nullptr};
  Upsample upsample_{nullptr};
};
TORCH_MODULE(Stage);

/// Input convolution, noise-level and class embeddings, the levels on the way down and the middle.
/// Not a module itself: it registers its modules with `owner`, so that their names stand at the
/// owner's level, as in diffusers' UNet2DModel.
class UNetEncoder {
 public:
  /// For examples of `image_channels` channels and one axis a boundary. Throws ConfigError naming
  /// the key and value that do not fit.
  UNetEncoder(torch::nn::Module& owner, const UNetOptions& options, int64_t image_channels,
              const Boundaries& boundaries);

  /// Networks of ADM's blocks (scale_shift, residual_resampling, another norm in the middle) take
  /// none of the special paths.
  /// Takes the CPU executor (cpu/executor.hpp) for float32 weights and x, computed in float32 or
  /// bfloat16, on a CPU with the instructions, without recomputation. Takes the fast
  /// path for float32 weights and x on a CPU with the instructions, if all channels are multiples
  /// of 16 up to 64 (wider is slower), and without dropout or a derivative in x (which may be a
  /// second derivative). Takes the GPU route for float32 weights and x if has_gpu_route(x). All are
  /// for images bounded by zeros. Throws ShapeError unless input.x is (B, image_channels, ...),
  /// ConfigError for labels given to an unconditional network.
  BlockContext context(const NetworkInput& input);

  /// What the first convolution reads: x with its Fourier features and the fields behind it, each
  /// axis padded by zeros behind it until every level halves it.
  torch::Tensor prepared(const torch::Tensor& x, const BlockContext& context) const;
  /// The channels that prepared() gives.
  int64_t prepared_channels() const;

  /// in: prepared(). Returns the features at the coarsest level, (B, channels.back(), ...), or
  /// padded NHWC if context.padded, in autocast's dtype if context.channels_last. skips gains the
  /// outputs that the way up reads, coarsest last.
  torch::Tensor forward(const torch::Tensor& in, const BlockContext& context,
                        std::vector<torch::Tensor>& skips);

  /// To be called once all residual blocks of `owner` are made.
  void know_blocks(torch::nn::Module& owner);

  /// Options of the next residual block; numbers its dropout.
  ResidualBlockOptions residual(int64_t in, int64_t out, Resampling resampling = Resampling::none);
  NormOptions norm() const { return {options_.norm_groups, options_.norm_eps}; }
  bool has_attention(size_t level) const;
  /// Whether the level's resampling is a residual block.
  bool resamples_in_block(size_t level) const;
  const Boundaries& boundaries() const { return boundaries_; }
  const UNetOptions& options() const { return options_; }

 private:
  bool takes_executor(const NetworkInput& input) const;
  bool has_plain_blocks() const;
  bool takes_fast_path(const NetworkInput& input) const;
  bool takes_gpu_route(const NetworkInput& input) const;
  torch::Tensor time_coordinate_of(const torch::Tensor& log_snr);
  void build_down(torch::nn::Module& owner);
  void build_middle(torch::nn::Module& owner);

  UNetOptions options_;
  int64_t image_channels_;
  Boundaries boundaries_;
  int64_t dropout_layers_ = 0;
  Convolution conv_in_{nullptr};
  TimeEmbedding time_embedding_{nullptr};
  torch::nn::Embedding class_embedding_{nullptr};
  ConditionEmbedding condition_embedding_{nullptr};
  torch::nn::Linear augment_embedding_{nullptr};
  std::vector<Stage> down_blocks_;
  Stage mid_block_{nullptr};
  std::vector<std::shared_ptr<ResidualBlockImpl>> blocks_;  // all of the owner's, by number()
  torch::Tensor step_table_;  // of options_.log_snr_of_step, where the last input was; or undefined
};

}  // namespace scorenet::models
