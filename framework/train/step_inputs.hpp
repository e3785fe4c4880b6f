// The inputs of a step, sent to a device that the host does not wait for.
//
// A recorded step (core/device_graph.hpp) reads its numbers at the addresses that it was recorded
// with. So each input has one tensor on the device, and two on the host: one is filled while the
// device may still read the other.
#pragma once

#include <torch/types.h>

#include <array>
#include <memory>
#include <vector>

namespace scorenet::train {

class StepInput {
 public:
  /// In page-locked memory if `device` is a GPU, so that copies run without the host.
  StepInput(c10::IntArrayRef shape, torch::Dtype dtype, torch::Device device);

  /// The host's tensor to fill for the next step. What it held was sent two steps ago.
  torch::Tensor& next();
  /// Starts the copy of the tensor that next() returned, after the device's work so far.
  void send();
  /// Of `shape` on the device; stays at its address.
  const torch::Tensor& on_device() const { return device_; }

 private:
  std::array<torch::Tensor, 2> host_;
  torch::Tensor device_;
  size_t turn_ = 0;
};

/// What the batches of a run may have or lack, such as a condition.
class OptionalInput {
 public:
  /// Has the shape and type of the first batch's; undefined: this stays empty.
  void allocate(const torch::Tensor& first, torch::Device device);
  /// Starts the copy of this step's values, after the device's work so far; nothing if empty.
  void send(const torch::Tensor& values);
  /// Undefined if empty; else stays at its address.
  torch::Tensor on_device() const;

 private:
  std::unique_ptr<StepInput> input_;
};

/// Several numbers of one type in one input, so that one copy is enough. Parts are laid out once,
/// in the order of add().
class PackedInput {
 public:
  /// The part's index. count >= 0.
  size_t add(int64_t count);
  void allocate(torch::Dtype dtype, torch::Device device);

  /// (count) on the host, to fill for the next step; on the device.
  torch::Tensor next(size_t part);
  torch::Tensor on_device(size_t part) const;
  void send() { input_->send(); }

 private:
  struct Part {
    int64_t first = 0, count = 0;
  };
  std::vector<Part> parts_;
  int64_t total_ = 0;
  std::unique_ptr<StepInput> input_;
};

}  // namespace scorenet::train
