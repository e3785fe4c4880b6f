// One convolution of the CPU executor: its weights as the kernels want them, forward, and its two
// gradients. Three siblings do it: by sums of taps and by Winograd's tiles in float32, and by sums
// of taps in bfloat16.
//
// What is chosen depends on channels and sizes alone. All gradients of weights are sums over pixels
// and images in their order, by one thread for each number: their bits depend on no thread.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "models/cpu/taps.hpp"
#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

/// In what products are computed. Sums and everything between layers are float32 in either.
enum class Arithmetic { float32, bfloat16 };

/// The parameters of some output channels, as indices into the list of all.
struct Part {
  int64_t weight = 0;
  int64_t bias = 0;
  int64_t more_bias = -1;  // another bias of the same channels, added to it; or none
  int64_t channels = 0;
  int64_t position = 0;  // of its first channel; a whole number of blocks
};

struct ConvolutionShape {
  Form form = Form::same;
  std::vector<int64_t> in;  // input channel at each position, rising within a block; -1: none, zero
  std::vector<Part> out;
  int64_t out_channels = 0;  // positions: whole blocks
  Area area;                 // of the input

  /// Of in that are none of the -1.
  int64_t real_in_channels() const;
  /// Positions up to the last output channel.
  int64_t out_depth() const;
};

class Arenas;

/// What is added to a result: numbers a channel, those of image n at add + n add_image; an image.
struct Epilogue {
  const float* add = nullptr;
  int64_t add_image = 0;
  const View* residual = nullptr;  // may be the result
};

class Convolution {
 public:
  explicit Convolution(ConvolutionShape shape) : shape_(std::move(shape)) {}
  virtual ~Convolution() = default;

  const ConvolutionShape& shape() const { return shape_; }

  /// Floats of the packed weights, and of those that the gradient of the input needs. Whole blocks.
  int64_t forward_floats() const { return forward_floats_ + shape_.out_channels; }
  int64_t backward_floats() const { return backward_floats_; }
  /// parameters: all of the network's. `to` was zero before the first packing.
  void pack_forward(const std::vector<const float*>& parameters, float* to) const;
  virtual void pack_backward(const std::vector<const float*>& parameters, float* to) const = 0;
  /// Both, where reading the weights once is faster than twice.
  void pack_both(const std::vector<const float*>& parameters, float* forward,
                 float* backward) const;
  /// Of every position, in packed weights.
  const float* bias(const float* packed) const { return packed + forward_floats_; }

  /// x: all positions of `in`. Roundings are given in bfloat16 alone, x's where no step is halved.
  virtual void forward(const float* packed, const Operand& x, const View& y, int64_t images,
                       const Epilogue& epilogue) const = 0;
  /// residual: added, or null.
  virtual void input_gradient(const float* packed_backward, const Operand& d_y, const View& d_x,
                              int64_t images, const View* residual) const = 0;

  /// Floats of the sums, their addition for some images, and what they make of the gradients of the
  /// weights (not the biases), all of which are overwritten. first: nothing is in `sums` yet.
  int64_t sum_floats() const { return sum_floats_; }
  virtual void add_weight_gradient(const Operand& x, const Operand& d_y, int64_t images, bool first,
                                   float* sums) const = 0;
  virtual void write_weight_gradient(const float* sums,
                                     const std::vector<float*>& gradients) const = 0;

  /// d_y as both gradients read it. `memory` is what a rounding is kept in.
  virtual Operand prepared(const Operand& d_y, int64_t images, torch::Tensor& memory) const;

 protected:
  int64_t in_channels() const { return static_cast<int64_t>(shape_.in.size()); }
  int64_t in_whole() const { return whole_blocks(in_channels()); }
  virtual void pack_weights(const std::vector<const float*>& parameters, float* to) const = 0;
  virtual void pack_weights_both(const std::vector<const float*>& parameters, float* forward,
                                 float* backward) const;
  void pack_bias(const std::vector<const float*>& parameters, float* to) const;

  ConvolutionShape shape_;
  int64_t forward_floats_ = 0;  // without the bias
  int64_t backward_floats_ = 0, sum_floats_ = 0;
};

/// The sibling for this shape. scratch: lends memory during a call. REQUIRES bf16_available()
/// (bf16_kernels.hpp) for bfloat16.
std::unique_ptr<Convolution> make_convolution(ConvolutionShape shape, Arithmetic arithmetic,
                                              const Arenas& scratch);

}  // namespace scorenet::models::cpu
