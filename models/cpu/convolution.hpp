// One convolution of the CPU executor: its weights as the kernels want them, forward, and its two
// gradients.
//
// A 3x3 kernel over enough channels runs by Winograd's tiles, all else as a sum of taps. What is
// chosen depends on channels and sizes alone. All gradients of weights are sums over pixels and
// images in their order, by one thread for each number: their bits depend on no thread.
#pragma once

#include <cstdint>
#include <vector>

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

enum class Form {
  point,        // 1x1, or a linear layer
  same,         // 3x3, padding 1
  half,         // 3x3, stride 2, padding 1
  half_behind,  // 3x3, stride 2, one place of padding behind
  twice         // nearest upsampling by 2, then 3x3: four 2x2 kernels of summed weights
};

/// The parameters of some output channels, as indices into the list of all.
struct Part {
  int64_t weight = 0;
  int64_t bias = 0;
  int64_t more_bias = -1;  // another bias of the same channels, added to it; or none
  int64_t channels = 0;
  int64_t position = 0;  // of its first channel
};

struct ConvolutionShape {
  Form form = Form::same;
  std::vector<int64_t> in;  // input channel at each position; -1: none, zero
  std::vector<Part> out;
  int64_t out_channels = 0;  // positions: whole blocks
  Area area;                 // of the input
};

/// What is added to a result: numbers a channel, those of image n at add + n add_image; an image.
struct Epilogue {
  const float* add = nullptr;
  int64_t add_image = 0;
  const View* residual = nullptr;  // may be the result
};

class Convolution {
 public:
  explicit Convolution(ConvolutionShape shape);

  const ConvolutionShape& shape() const { return shape_; }

  /// Floats of the packed weights, and of those that the gradient of the input needs. Whole blocks.
  int64_t forward_floats() const { return forward_floats_; }
  int64_t backward_floats() const { return backward_floats_; }
  /// parameters: all of the network's. `to` was zero before the first packing.
  void pack_forward(const std::vector<const float*>& parameters, float* to) const;
  void pack_backward(const std::vector<const float*>& parameters, float* to) const;
  /// Of every position, in packed weights.
  const float* bias(const float* packed) const { return packed + forward_floats_ - bias_floats(); }

  /// x: all positions of `in`.
  void forward(const float* packed, const View& x, const View& y, int64_t images,
               const Epilogue& epilogue) const;
  /// residual: added, or null.
  void input_gradient(const float* packed_backward, const View& d_y, const View& d_x,
                      int64_t images, const View* residual) const;

  /// Floats of the sums, their addition for some images, and what they make of the gradients of the
  /// weights (not the biases), all of which are overwritten.
  int64_t sum_floats() const { return sum_floats_; }
  void add_weight_gradient(const View& x, const View& d_y, int64_t images, float* sums) const;
  void write_weight_gradient(const float* sums, const std::vector<float*>& gradients) const;

 private:
  // A tap reads the pixel (y, x) away, by the sum of some entries of the kernel.
  struct TapRule {
    int64_t y, x;
    std::vector<int64_t> entries;
  };
  // One pass over a grid of pixels: result pixel (out_step i + out_y, ...) from input pixels
  // in_step i.
  struct Phase {
    int64_t out_y = 0, out_x = 0, out_step = 1, in_step = 1;
    std::vector<TapRule> taps;
    int64_t weights = 0;  // where its packed weights begin
  };
  // The taps of which the gradient of the weights is made: x at in_step i + (x_y, x_x), d_y at
  // d_step i + (d_y, d_x).
  struct GradientTap {
    int64_t x_y, x_x, d_y, d_x;
    std::vector<int64_t> entries;
  };

  struct Grid {
    Area area;
    int64_t depth, channels;
  };

  int64_t in_channels() const { return static_cast<int64_t>(shape_.in.size()); }
  int64_t in_whole() const { return whole_blocks(in_channels()); }
  int64_t bias_floats() const { return shape_.out_channels; }
  // The pixels of one phase. A linear layer takes any number of rows.
  Area grid_of(const View& v) const { return shape_.form == Form::point ? v.area : grid_; }
  int64_t kernel_entries() const { return shape_.form == Form::point ? 1 : 9; }

  void make_phases();
  void make_halving_phases(int64_t padding);
  void make_doubling_phases();
  int64_t place_weights(std::vector<Phase>& phases, int64_t depth, int64_t channels) const;

  std::vector<const float*> out_rows(const std::vector<const float*>& parameters) const;
  void pack_planes(const std::vector<const float*>& rows, bool backward, float* to) const;
  void run(const std::vector<Phase>& phases, const float* packed, const Grid& grid, const View& x,
           const View& y, int64_t images, const Epilogue& epilogue) const;
  void run_winograd(const float* packed, const View& x, const View& y, int64_t images,
                    const Epilogue& epilogue) const;
  void add_winograd_gradient(const View& x, const View& d_y, int64_t images, float* sums) const;
  void write_winograd_gradient(const float* sums, const std::vector<float*>& rows) const;

  ConvolutionShape shape_;
  bool winograd_ = false;
  int64_t out_depth_ = 0;  // positions up to the last output channel
  Area grid_;
  std::vector<Phase> forward_, backward_;
  std::vector<GradientTap> gradient_;
  int64_t x_step_ = 1, d_step_ = 1;  // of the gradient's taps
  int64_t forward_floats_ = 0, backward_floats_ = 0, sum_floats_ = 0;
};

}  // namespace scorenet::models::cpu
