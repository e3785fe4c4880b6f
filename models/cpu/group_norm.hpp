// Group norm, with SiLU or without, by the passes of norm.hpp: here are the statistics of the
// groups and the sums of the gradients.
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

/// Dropout after a norm, by drop() of norm.hpp. Image n's mask begins at first + n image.
struct Mask {
  const uint8_t* first = nullptr;  // null: no dropout
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
  /// How many numbers forward keeps of an image for backward: each group's mean and
  /// 1 / standard deviation.
  int64_t statistics() const { return 2 * shape_.groups; }
  int64_t channels() const { return shape_.channels; }

  /// Where these numbers are: image n's from first + n stride on.
  struct Statistics {
    double* first;
    int64_t stride;
    double* of(int64_t n) const { return first + n * stride; }
  };
  void forward(const Parameters& p, const View& x, const Operand& y, int64_t images,
               const Statistics& statistics, const Mask& mask) const;

  struct Gradients {
    double* weight = nullptr;  // added to; null, as bias, if they are not wanted
    double* bias = nullptr;
    float* sums =
        nullptr;  // sums of d_x over pixels, image n's from sums + n sums_image on; or null
    int64_t sums_image = 0;
  };
  /// Overwrites d_y. more: up to two images that are added to d_x; d_x may be one of them.
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
