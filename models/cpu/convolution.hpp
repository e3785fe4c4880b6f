// One convolution of the CPU executor: it packs its weights, runs forward, and makes the gradients
// of its input and of its weights.
//
// There are three implementations: TapConvolution and WinogradConvolution in float32, and
// Bf16Convolution. make_convolution() chooses by the numbers of channels and the size of the image
// only. Each number of a weight gradient is added up by one thread, over images and pixels in their
// order, so its bits do not depend on the number of threads.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "models/cpu/taps.hpp"
#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

/// The type of the factors of products. Sums, and everything between layers, are float32 in either.
enum class Arithmetic { float32, bfloat16 };

/// Some output channels that share one weight tensor. Several parts make one convolution of several
/// layers that read the same input. Parameters are indices into the network's list.
struct Part {
  int64_t weight = 0;
  int64_t bias = 0;
  int64_t more_bias = -1;  // a second bias that is added to the first; -1: none
  int64_t channels = 0;
  int64_t position = 0;  // of the first channel in the result, a multiple of 16
};

struct ConvolutionShape {
  Form form = Form::same;
  std::vector<int64_t> in;  // input channel at each position, rising within a block; -1: zeros
  std::vector<Part> out;
  int64_t out_channels = 0;  // positions: whole blocks
  Area area;                 // of the input

  /// How many positions of `in` hold a channel.
  int64_t real_in_channels() const;
  /// Positions up to the last output channel.
  int64_t out_depth() const;
};

class Arenas;

/// What is added to the result of image n: a number for each channel, from add + n add_image, and
/// an image.
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

  /// Floats of the packed weights: for the forward pass, with the bias behind them, and for the
  /// gradient of the input.
  int64_t forward_floats() const { return forward_floats_ + shape_.out_channels; }
  int64_t backward_floats() const { return backward_floats_; }
  /// parameters: the network's, all of them. REQUIRES that `to` was zero before it was first
  /// packed: places without a channel are not written.
  void pack_forward(const std::vector<const float*>& parameters, float* to) const;
  virtual void pack_backward(const std::vector<const float*>& parameters, float* to) const = 0;
  /// Both of them, reading the weights once where that is faster.
  void pack_both(const std::vector<const float*>& parameters, float* forward,
                 float* backward) const;
  /// The bias at every position of the result.
  const float* bias(const float* packed) const { return packed + forward_floats_; }

  /// y = the convolution of x, which has all positions of `in`, plus the epilogue. Only a
  /// Bf16Convolution that does not halve the image may be given a rounded x.
  virtual void forward(const float* packed, const Operand& x, const View& y, int64_t images,
                       const Epilogue& epilogue) const = 0;
  /// d_x = the gradient of x, plus the residual, if there is one.
  virtual void input_gradient(const float* packed_backward, const Operand& d_y, const View& d_x,
                              int64_t images, const View* residual) const = 0;

  /// The gradient of the weights (not of the biases) is added up in `sums` for some images at a
  /// time and then written, in the order of the parameters, over what `gradients` held. first:
  /// nothing is in `sums` yet.
  int64_t sum_floats() const { return sum_floats_; }
  virtual void add_weight_gradient(const Operand& x, const Operand& d_y, int64_t images, bool first,
                                   float* sums) const = 0;
  virtual void write_weight_gradient(const float* sums,
                                     const std::vector<float*>& gradients) const = 0;

  /// d_y in the form that both gradients read: rounded once for a Bf16Convolution, into `memory`.
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

/// The fastest implementation for this shape. scratch lends memory during a call. REQUIRES
/// bf16_available() (bf16_kernels.hpp) for bfloat16.
std::unique_ptr<Convolution> make_convolution(ConvolutionShape shape, Arithmetic arithmetic,
                                              const Arenas& scratch);

}  // namespace scorenet::models::cpu
