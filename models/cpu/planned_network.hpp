// A planned network with what it needs to run: packed weights, arenas, and the way in which a batch
// is dealt to threads.
#pragma once

#include <torch/types.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "models/cpu/arena.hpp"
#include "models/cpu/network.hpp"
#include "models/score_network.hpp"

namespace scorenet::models::cpu {

/// Weights as the kernels read them. Those for the way back are made when first needed.
struct PackedWeights {
  std::string digest;  // of the parameters
  torch::Tensor forward;
  torch::Tensor backward;
  std::once_flag backward_once;
};

/// Dropout of one pass: blocks.hpp's, by the global positions of the batch's examples.
struct Dropout {
  double probability = 0;
  const BatchSlots* slots = nullptr;  // null: none
};

/// What a forward pass keeps for its backward pass. Its tensors may be undefined.
struct ForwardState {
  torch::Tensor values, statistics, masks;
  std::shared_ptr<PackedWeights> packed;
};

/// Which gradients a backward pass makes.
struct Wanted {
  bool x = false, time = false, parameters = false;
};
struct NetworkGradients {
  torch::Tensor x, time;
  std::vector<torch::Tensor> parameters;
};

class PlannedNetwork {
 public:
  PlannedNetwork(const UNetOptions& options, int64_t in_channels, int64_t out_channels, Area area,
                 Arithmetic arithmetic);

  const std::vector<std::string>& parameters() const { return network_.parameters(); }

  /// x: (B, C, H, W), time: (B, time channels), both contiguous. state: filled if it is not null.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& time,
                        const std::vector<torch::Tensor>& parameters, const Dropout& dropout,
                        ForwardState* state);
  /// dropout: the forward pass's.
  NetworkGradients backward(const torch::Tensor& d_y, const torch::Tensor& x,
                            const torch::Tensor& time, const std::vector<torch::Tensor>& parameters,
                            const ForwardState& state, double dropout, const Wanted& wanted);

 private:
  struct Way;

  std::shared_ptr<PackedWeights> packed_of(const std::vector<torch::Tensor>& parameters, bool both);
  float* backward_of(PackedWeights& packed) const;
  int64_t images_at_once() const;
  torch::Tensor padded_time(const torch::Tensor& time) const;
  void draw_masks(const Dropout& dropout, int64_t first, int64_t images, uint8_t* masks) const;
  Pass pass_of(const Way& way, int64_t first, int64_t images) const;
  struct Sums;
  void back_over(const Way& way, int64_t first, int64_t images, const Sums& sums) const;

  Network network_;
  Arithmetic arithmetic_;
  int64_t in_channels_, out_channels_;
  Arenas kept_values_, values_, gradients_, sums_;
  std::mutex mutex_;
  std::shared_ptr<PackedWeights> last_;
};

}  // namespace scorenet::models::cpu
