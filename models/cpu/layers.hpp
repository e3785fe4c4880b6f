// The layers of the CPU executor's U-Net (the blocks of models/blocks.hpp), forward and backward.
//
// A layer knows where its inputs, results and gradients are. In its backward pass it writes its
// input's gradient. Where the input also feeds a skip connection, the layer adds to the gradient,
// which the reader of the skip, further up, has written before.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/cpu/attention.hpp"
#include "models/cpu/convolution.hpp"
#include "models/cpu/group_norm.hpp"
#include "models/cpu/network.hpp"

namespace scorenet::models::cpu {

/// A convolution, and where its packed weights and its sums of gradients begin among the network's.
struct PlacedConvolution {
  PlacedConvolution(ConvolutionShape shape, Arithmetic arithmetic, const Arenas& scratch)
      : made(make_convolution(std::move(shape), arithmetic, scratch)) {}

  std::unique_ptr<Convolution> made;
  int64_t packed = 0, packed_backward = 0, sums = 0;
  int64_t bias = -1;  // among the vectors; -1: another convolution adds it (`Part::more_bias`)

  /// y = the convolution of x, plus the bias, plus the residual, if there is one.
  void forward(const Pass& pass, const Operand& x, const View& y, const View* residual) const;
  /// The same with the noise level's shift in place of the bias. shift: where it begins among the
  /// shifts.
  void forward_shifted(const Pass& pass, const Operand& x, const View& y, int64_t shift) const;
  /// Adds to the sums of the weights, where they are wanted, and writes d_x, plus the residual, if
  /// these are not null. d_y: as it is, or prepared. Where bias >= 0 its view must be there.
  void backward(const Pass& pass, const Operand& x, const Operand& d_y, const View* d_x,
                const View* residual) const;
  /// d_y as backward reads it. Convolutions of one form with as many channels may share it.
  Operand prepared(const Pass& pass, const Operand& d_y, torch::Tensor& memory) const;
};

/// A norm, and where its parameters, statistics and gradients are.
struct PlacedNorm {
  explicit PlacedNorm(GroupNormShape shape) : made(std::move(shape)) {}

  GroupNorm made;
  int64_t weight = 0, bias = 0;  // parameters
  int64_t statistics = 0;        // where they begin among an image's
  int64_t vectors = 0;           // where the weight's gradient begins; the bias's stands behind it

  void forward(const Pass& pass, const Place& x, const Place& y, const Mask& mask = {}) const;
  /// shift: where the sums of d_x over an image's pixels go among the gradients of the shifts; -1:
  /// nowhere.
  void backward(const Pass& pass, const Place& x, const Place& d_y, const Place& d_x,
                const std::vector<const View*>& more, int64_t shift) const;

 private:
  GroupNorm::Parameters parameters_of(const Pass& pass) const;
};

/// A tensor between layers.
struct Features {
  Place value, gradient;
  std::vector<int64_t> in;  // channel at each position, or -1
  bool joined = false;      // it also feeds a skip, which has written its part of the gradient
  bool is_input = false;    // it is the network's input
};

class Layer {
 public:
  virtual ~Layer() = default;
  virtual void forward(const Pass& pass) const = 0;
  virtual void backward(const Pass& pass) const = 0;
};

/// A convolution alone: the first, the last, and those that resample.
class ConvolutionLayer : public Layer {
 public:
  ConvolutionLayer(const PlacedConvolution& c, Features x, Features y)
      : c_(c), x_(std::move(x)), y_(std::move(y)) {}
  void forward(const Pass& pass) const override;
  void backward(const Pass& pass) const override;

 private:
  const PlacedConvolution& c_;
  Features x_, y_;
};

class NormLayer : public Layer {
 public:
  NormLayer(const PlacedNorm& norm, Features x, Features y)
      : norm_(norm), x_(std::move(x)), y_(std::move(y)) {}
  void forward(const Pass& pass) const override;
  void backward(const Pass& pass) const override;

 private:
  const PlacedNorm& norm_;
  Features x_, y_;
};

struct ResidualParts {
  const PlacedNorm& norm1;
  const PlacedConvolution& conv1;
  const PlacedNorm& norm2;
  const PlacedConvolution& conv2;
  const PlacedConvolution* shortcut;  // or null
  int64_t shift;                      // where the noise level's begins among the shifts
  int64_t mask;                       // where the dropout's begins among an image's
  Place normed1, hidden, normed2;     // values
  Place d_in, d_normed, d_hidden;     // gradients, which only this layer reads
};

class ResidualLayer : public Layer {
 public:
  ResidualLayer(ResidualParts parts, Features x, Features y)
      : p_(std::move(parts)), x_(std::move(x)), y_(std::move(y)) {}
  void forward(const Pass& pass) const override;
  void backward(const Pass& pass) const override;

 private:
  Mask mask_of(const Pass& pass) const;

  ResidualParts p_;
  Features x_, y_;
};

struct AttentionParts {
  const PlacedNorm& norm;
  const PlacedConvolution& in;   // queries, keys and values in one
  const PlacedConvolution& out;  // after attention
  Heads heads;
  Arithmetic arithmetic;
  Place normed, q_k_v, mixed;
  Place d_normed, d_q_k_v, d_mixed;
};

class AttentionLayer : public Layer {
 public:
  AttentionLayer(AttentionParts parts, Features x, Features y)
      : p_(std::move(parts)), x_(std::move(x)), y_(std::move(y)) {}
  void forward(const Pass& pass) const override;
  void backward(const Pass& pass) const override;

 private:
  AttentionViews views(const Window& window, const Place& q_k_v, const Place& mixed) const;

  AttentionParts p_;
  Features x_, y_;
};

}  // namespace scorenet::models::cpu
