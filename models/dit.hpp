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
#include "models/options.hpp"
#include "models/score_network.hpp"

namespace scorenet::models {

/// (height * width, dim), row-major over the grid: the first half of the channels are sines and
/// cosines of the row, the second half of the column, frequencies 10000^(-i / (dim / 4)). REQUIRES
/// dim to be a multiple of 4.
torch::Tensor grid_positions(int64_t height, int64_t width, int64_t dim,
                             torch::Device device = torch::kCPU);

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
