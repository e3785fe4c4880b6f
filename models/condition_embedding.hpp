// How conditions enter a network: numbers join the embedding of the noise level, fields the
// channels of its input.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include "models/conditions.hpp"
#include "models/embedding.hpp"
#include "models/options.hpp"

namespace scorenet::models {

/// `given` with zeros in place of what is not told, in x's dtype, on its device. x: (B, C, ...) or
/// (B, D). numbers and fields stay undefined where the network has none. Throws ShapeError for
/// other numbers of them, ConfigError where the network is told none of that kind.
Conditions completed(const Conditions& given, const ConditionSizes& sizes, const torch::Tensor& x);

/// (B, numbers + 1): the numbers, then `told`. REQUIRES what completed() returned.
torch::Tensor told_numbers(const Conditions& complete);

/// told_numbers through two layers, to the width of the noise level's embedding: they are added.
class ConditionEmbeddingImpl : public torch::nn::Module {
 public:
  ConditionEmbeddingImpl(const ConditionSizes& sizes, int64_t width);
  torch::Tensor forward(const Conditions& complete);

 private:
  TimeEmbedding layers_;
};
TORCH_MODULE(ConditionEmbedding);

/// (B, sizes.augment) to `width`, without a bias: an image that was not augmented adds nothing.
torch::nn::Linear augment_layer(const ConditionSizes& sizes, int64_t width);

/// embedding (B, width) and what given.augment adds to it; unchanged where that is undefined.
/// Throws ShapeError for another shape.
torch::Tensor with_augment(const torch::Tensor& embedding, torch::nn::Linear& layer,
                           const Conditions& given);

}  // namespace scorenet::models
