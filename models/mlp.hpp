// A multilayer perceptron for low-dimensional data: dense layers on x joined with an embedding of
// the noise level.
//
// The plain form, concat(x, time) -> 3 x (dense 128, SiLU) -> dense D with LeCun-normal weights, is
// the network of the two-dimensional experiments of Hirono, Tanaka & Fukushima (2403.11262);
// `attenuation` and `angle` are its times.
#pragma once

#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include <string>
#include <vector>

#include "models/score_network.hpp"

namespace scorenet::models {

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
  int64_t num_classes =
      0;  // 0: unconditional; else a learned vector of embedding_dim joins the input
  bool learned_variance = false;  // a second point of x's shape behind the first
};

/// (B) log-SNR -> (B, features) as MLPOptions::time_embedding says, of `dtype`. Throws ConfigError
/// listing the names.
torch::Tensor mlp_time_features(const torch::Tensor& log_snr, const MLPOptions& options,
                                torch::Dtype dtype);

class MLPImpl : public ScoreNetwork {
 public:
  /// For points of `dims` numbers. outputs: of the last layer; 0: as many as the options ask for.
  /// Throws ConfigError naming the key and value that do not fit.
  MLPImpl(const MLPOptions& options, int64_t dims, int64_t outputs = 0);
  /// x: (B, dims). Throws ShapeError for another shape.
  torch::Tensor forward(const NetworkInput& input) override;
  /// What the last layer reads: (B, options.hidden.back()).
  torch::Tensor hidden(const NetworkInput& input);

 private:
  MLPOptions options_;
  int64_t dims_;
  torch::nn::Embedding class_embedding_{nullptr};
  std::vector<torch::nn::Linear> hidden_;
  torch::nn::Linear out_{nullptr};
};
TORCH_MODULE(MLP);

}  // namespace scorenet::models
