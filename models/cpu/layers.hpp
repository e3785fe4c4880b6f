// The layers of the CPU executor's U-Net (blocks.hpp), each with its places, forward and backward.
//
// A layer writes its input's gradient, or adds to it where the input has another reader further up,
// which has written it by then: the input of a skip connection.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/cpu/attention.hpp"
#include "models/cpu/convolution.hpp"
#include "models/cpu/group_norm.hpp"
#include "models/cpu/network.hpp"

namespace scorenet::models::cpu {

/// A convolution, and where its weights and gradients lie among all.
struct PlacedConvolution {
  PlacedConvolution(ConvolutionShape shape, Arithmetic arithmetic, const Arenas& scratch)
      : made(make_convolution(std::move(shape), arithmetic, scratch)) {}

  std::unique_ptr<Convolution> made;
  int64_t packed = 0, packed_backward = 0, sums = 0;
  int64_t bias = -1;  // of vectors; -1: its bias is another's (`Part::more_bias`)

  /// With the bias, and a residual or null.
  void forward(const Pass& pass, const Operand& x, const View& y, const View* residual) const;
  /// With what the noise level adds in place of the bias: `shift` is where among all.
  void forward_shifted(const Pass& pass, const Operand& x, const View& y, int64_t shift) const;
  /// To the weights, where they are wanted, and to d_x, unless it is null, with a residual or null.
  /// d_y: as it is, or prepared. Its view must be there where the bias's gradient is this one's.
  void backward(const Pass& pass, const Operand& x, const Operand& d_y, const View* d_x,
                const View* residual) const;
  /// d_y as backward reads it, for several convolutions of one form and as many channels.
  Operand prepared(const Pass& pass, const Operand& d_y, torch::Tensor& memory) const;
};

/// The same for a norm.
struct PlacedNorm {
  explicit PlacedNorm(GroupNormShape shape) : made(std::move(shape)) {}

  GroupNorm made;
  int64_t weight = 0, bias = 0;  // parameters
  int64_t statistics = 0;        // of an image's
  int64_t vectors = 0;           // first the weight's gradient, then the bias's

  void forward(const Pass& pass, const Place& x, const Place& y, const Mask& mask = {}) const;
  /// shift: where the image's sums of d_x go among the shifts' gradients, or -1.
  void backward(const Pass& pass, const Place& x, const Place& d_y, const Place& d_x,
                const std::vector<const View*>& more, int64_t shift) const;

 private:
  GroupNorm::Parameters parameters_of(const Pass& pass) const;
};

/// A tensor between layers.
struct Features {
  Place value, gradient;
  std::vector<int64_t> in;  // channel at each position, or -1
  bool joined = false;      // its gradient has another part, written before
  bool is_input = false;    // of the network
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
  int64_t shift;                      // of the noise level, among all
  int64_t mask;                       // of the dropout, among an image's
  Place normed1, hidden, normed2;     // values
  Place d_in, d_normed, d_hidden;     // gradients, of use within the layer alone
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
  const PlacedConvolution& out;  // of what was mixed
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
