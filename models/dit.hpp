// The diffusion transformer with adaLN-Zero (Peebles & Xie 2023, 2212.09748, section 3.2) for
// series, images and volumes of any size.
//
// Patches become tokens; every block is attention and a two-layer perceptron, each behind a layer
// norm whose shift and scale, and whose gate on the way out, are linear in the noise-level
// (and class) embedding. All gates start at zero, so that every block starts as the identity.
// Positions are fixed sinusoids of each axis, computed for the grid at hand.
#pragma once

#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include <vector>

#include "models/condition_embedding.hpp"
#include "models/embedding.hpp"
#include "models/grid.hpp"
#include "models/grid_positions.hpp"
#include "models/options.hpp"
#include "models/score_network.hpp"

namespace scorenet::models {

class DiTBlockImpl : public torch::nn::Module {
 public:
  DiTBlockImpl(const DiTOptions& options, int64_t dropout_layer);
  /// x: (B, tokens, width); activated: (B, width), the embedding behind SiLU. residual: x again,
  /// for recomputed(); or undefined.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& activated,
                        const BatchSlots* dropout, const torch::Tensor& residual = {});
  /// Whether the route of its own (kernels/tokens.hpp) takes x, (B, tokens, width).
  bool has_own_kernels(const torch::Tensor& x) const;

 private:
  // Attention of (B, tokens, width) without its last layer. fused: by kernels of our own.
  torch::Tensor mixed(const torch::Tensor& x, bool fused);
  // (B, tokens, width) -> (B, tokens, mlp_ratio width), behind GELU.
  torch::Tensor expanded(const torch::Tensor& x, bool fused);

  DiTOptions options_;
  int64_t dropout_layer_;
  torch::nn::Linear modulation_;
  torch::nn::Linear qkv_;
  torch::nn::Linear proj_;
  torch::nn::Linear fc1_;
  torch::nn::Linear fc2_;
};
TORCH_MODULE(DiTBlock);

class DiTImpl : public ScoreNetwork {
 public:
  /// For examples of `image_channels` channels and `axes` axes, 1 to 3. Throws ConfigError naming
  /// the key and value that do not fit.
  DiTImpl(const DiTOptions& options, int64_t image_channels, int64_t axes = 2);
  /// x: (B, image_channels, ...) of any sizes. Throws ShapeError for another shape.
  torch::Tensor forward(const NetworkInput& input) override;

 private:
  torch::Tensor embed_level(const NetworkInput& input, const Conditions& given);
  torch::Tensor run_block(DiTBlock& block, const torch::Tensor& h, const torch::Tensor& activated,
                          const BatchSlots* dropout);
  // (B, tokens, values of a patch) -> (B, C, ...), padded.
  torch::Tensor from_patches(const torch::Tensor& h, c10::IntArrayRef grid) const;

  DiTOptions options_;
  int64_t image_channels_;
  int64_t channels_out_;
  Boundaries boundaries_;
  GridPositions positions_;
  Convolution patch_embedding_{nullptr};
  TimeEmbedding time_embedding_{nullptr};
  torch::nn::Embedding class_embedding_{nullptr};
  ConditionEmbedding condition_embedding_{nullptr};
  torch::nn::Linear augment_embedding_{nullptr};
  std::vector<DiTBlock> blocks_;
  torch::nn::Linear final_modulation_{nullptr};
  torch::nn::Linear final_{nullptr};
};
TORCH_MODULE(DiT);

}  // namespace scorenet::models
