// The interface of a trainable network of noised data. The parametrisation, not the network, gives
// its output a meaning.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <vector>

#include "framework/core/random.hpp"
#include "models/conditions.hpp"

namespace scorenet::models {

/// The global positions of a batch's examples: dropout masks are functions of them
/// (core/random.hpp).
struct BatchSlots {
  RandomKey key;
  std::vector<int64_t> slots;
  /// In place of both, for a step that a device repeats by itself: the slots, and the key of each
  /// dropout layer (dropout_key), both (n) int64 there; else undefined.
  torch::Tensor device_slots = {};
  torch::Tensor device_keys = {};
};

struct NetworkInput {
  torch::Tensor x;        // (B, C, ...) with one to three axes, or (B, D); the network's dtype
  torch::Tensor log_snr;  // (B), float64 or float32
  Conditions given;       // beside them
  const BatchSlots* dropout = nullptr;  // null: no dropout (evaluation)
};

class ScoreNetwork : public torch::nn::Module {
 public:
  /// Returns a tensor of input.x's shape; with learned_variance two, one behind the other along
  /// dimension 1. A classifier (classifier.hpp): logits (B, classes).
  virtual torch::Tensor forward(const NetworkInput& input) = 0;
};

}  // namespace scorenet::models
