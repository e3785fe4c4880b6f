// A planned network with what it needs to run: packed weights and memory that is used again.
#pragma once

#include <torch/types.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "models/cpu/arena.hpp"
#include "models/cpu/backward_pass.hpp"
#include "models/cpu/network.hpp"
#include "models/cpu/way.hpp"
#include "models/score_network.hpp"

namespace scorenet::models::cpu {

/// Dropout of one pass: blocks.hpp's, by the global positions of the batch's examples.
struct Dropout {
  double probability = 0;
  const BatchSlots* slots = nullptr;  // null: none
};

class PlannedNetwork {
 public:
  PlannedNetwork(const UNetOptions& options, int64_t in_channels, int64_t out_channels, Area area,
                 Arithmetic arithmetic);

  const std::vector<std::string>& parameters() const { return network_.parameters(); }
  int64_t layers() const { return network_.layers(); }
  /// See Network.
  const std::vector<int64_t>& parameters_of(int64_t layer) const {
    return network_.parameters_of(layer);
  }

  /// x: (B, C, H, W), time: (B, time channels), both contiguous. state: filled if it is not null.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& time,
                        const std::vector<torch::Tensor>& parameters, const Dropout& dropout,
                        ForwardState* state);
  /// From input.d_y. This network must outlive the pass.
  std::unique_ptr<BackwardPass> backward(BackwardInput input);

 private:
  std::shared_ptr<PackedWeights> packed_of(const std::vector<torch::Tensor>& parameters, bool both);
  float* backward_of(PackedWeights& packed) const;
  int64_t images_at_once() const;
  void draw_masks(const Dropout& dropout, int64_t first, int64_t images, uint8_t* masks) const;
  // All layers for some images of the batch. Where `way` keeps no values, these images have some of
  // their own, for as long as the call lasts.
  void forward_over(const Way& way, int64_t first, int64_t images, const torch::Tensor& x,
                    const torch::Tensor& y) const;

  Network network_;
  Arithmetic arithmetic_;
  int64_t in_channels_, out_channels_;
  Arenas kept_values_, values_, gradients_, sums_;
  std::mutex mutex_;
  std::shared_ptr<PackedWeights> last_;
};

}  // namespace scorenet::models::cpu
