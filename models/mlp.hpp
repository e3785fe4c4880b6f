// A multilayer perceptron for low-dimensional data: dense layers on x joined with an embedding of
// the noise level, and with conditions that are numbers.
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

#include "models/options.hpp"
#include "models/score_network.hpp"

namespace scorenet::models {

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
