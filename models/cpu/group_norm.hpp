// Group norm, with SiLU or without, of the CPU executor: its statistics and the sums of its
// gradients over the passes of norm.hpp.
#pragma once

#include <cstdint>
#include <vector>

#include "models/cpu/norm.hpp"
#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

struct GroupNormShape {
  std::vector<int64_t> in;  // channel at each position, or -1
  int64_t channels = 0;
  int64_t groups = 1;
  double eps = 1e-5;
  bool silu = true;
};

/// Dropout behind a norm: image n's numbers, as drop() of norm.hpp wants them, at first + n image;
/// null: none.
struct Mask {
  const uint8_t* first = nullptr;
  int64_t image = 0;
  float factor = 1;

  void apply(const View& x, int64_t n) const {
    if (first != nullptr) drop(x, first + n * image, factor);
  }
};

class GroupNorm {
 public:
  explicit GroupNorm(GroupNormShape shape) : shape_(std::move(shape)) {}

  struct Parameters {
    const float* weight;
    const float* bias;
  };
  /// Numbers that forward leaves of an image for backward: mean and 1 / standard deviation.
  int64_t statistics() const { return 2 * shape_.groups; }
  int64_t channels() const { return shape_.channels; }

  /// statistics: of image n at statistics + n stride.
  struct Statistics {
    double* first;
    int64_t stride;
    double* of(int64_t n) const { return first + n * stride; }
  };
  void forward(const Parameters& p, const View& x, const Operand& y, int64_t images,
               const Statistics& statistics, const Mask& mask) const;

  struct Gradients {
    double* weight = nullptr;  // added to; or null, and bias too
    double* bias = nullptr;
    float* sums = nullptr;  // of d_x over pixels, image n at sums + n sums_image; or null
    int64_t sums_image = 0;
  };
  /// Overwrites d_y. more: up to two images that are added to d_x, which may be one of them.
  void backward(const Parameters& p, const View& x, const View& d_y, const Operand& d_x,
                const std::vector<const View*>& more, int64_t images, const Statistics& statistics,
                const Gradients& gradients) const;

 private:
  void set_statistics(const double* sum, const double* squares, int64_t pixels,
                      double* statistics) const;
  void set_factors(const Parameters& p, const double* statistics, float* scale, float* shift) const;
  void scale_and_round(const View& x, const float* scale, const float* shift, const Mask& mask,
                       Bf16* rounded) const;
  void combine_and_round(const View& g, const View& x, const Combination& factors, Bf16* rounded,
                         float* channels) const;
  void finish(const Parameters& p, const double* statistics, int64_t pixels, const double* g,
              const double* gx, float* k, double* d_weight, double* d_bias) const;

  GroupNormShape shape_;
};

}  // namespace scorenet::models::cpu
