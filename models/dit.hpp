// The diffusion transformer with adaLN-Zero (Peebles & Xie 2023, 2212.09748, section 3.2) for
// images of any size.
//
// Patches become tokens; every block is attention and a two-layer perceptron, each behind a layer
// norm whose shift and scale, and whose gate on the way out, are linear in the noise-level
// (and class) embedding. All gates start at zero, so that every block starts as the identity.
// Positions are fixed two-dimensional sinusoids, computed for the grid at hand.
#pragma once

#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include <vector>

#include "models/embedding.hpp"
#include "models/score_network.hpp"

namespace scorenet::models {

/// The keys of the config table [model] for type = dit.
struct DiTOptions {
  int64_t patch_size = 2;  // pixels of a patch's side; H and W are padded to a multiple and cropped
  int64_t width = 192;     // channels of a token; a multiple of 4 and of heads
  int64_t depth = 6;       // blocks
  int64_t heads = 3;
  int64_t mlp_ratio = 4;          // hidden width of a block's perceptron / width
  double dropout = 0.0;           // in the perceptron, in [0, 1)
  int64_t num_classes = 0;        // 0: unconditional
  bool learned_variance = false;  // a second tensor of x's shape behind the first
};

/// (height * width, dim), row-major over the grid: the first half of the channels are sines and
/// cosines of the row, the second half of the column, frequencies 10000^(-i / (dim / 4)). REQUIRES
/// dim to be a multiple of 4.
torch::Tensor grid_positions(int64_t height, int64_t width, int64_t dim);

class DiTBlockImpl : public torch::nn::Module {
 public:
  DiTBlockImpl(const DiTOptions& options, int64_t dropout_layer);
  /// x: (B, tokens, width); activated: (B, width), the embedding behind SiLU.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& activated,
                        const BatchSlots* dropout);

 private:
  torch::Tensor attention(const torch::Tensor& x);

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
  /// Throws ConfigError naming the key and value that do not fit.
  DiTImpl(const DiTOptions& options, int64_t image_channels);
  /// x: (B, image_channels, H, W) with any H, W >= 1. Throws ShapeError for another shape.
  torch::Tensor forward(const NetworkInput& input) override;

 private:
  torch::Tensor embed_level(const NetworkInput& input);

  DiTOptions options_;
  int64_t image_channels_;
  int64_t channels_out_;
  torch::nn::Conv2d patch_embedding_{nullptr};
  TimeEmbedding time_embedding_{nullptr};
  torch::nn::Embedding class_embedding_{nullptr};
  std::vector<DiTBlock> blocks_;
  torch::nn::Linear final_modulation_{nullptr};
  torch::nn::Linear final_{nullptr};
};
TORCH_MODULE(DiT);

}  // namespace scorenet::models
