// Which pixels and which entries of its kernel a convolution reads: each form as sums of taps.
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

constexpr int64_t kernel_entries(Form form) { return form == Form::point ? 1 : 9; }

/// A tap reads the pixel (y, x) away, by the sum of some entries of the kernel.
struct TapRule {
  int64_t y, x;
  std::vector<int64_t> entries;
};

/// One pass over a grid of pixels: result pixel (out_step i + out_y, ...) from input pixels
/// in_step i.
struct Phase {
  int64_t out_y = 0, out_x = 0, out_step = 1, in_step = 1;
  std::vector<TapRule> taps;
};

/// A tap of which the gradient of the weights is made: x at x_step i + (x_y, x_x), d_y at
/// d_step i + (d_y, d_x).
struct GradientTap {
  int64_t x_y, x_x, d_y, d_x;
  std::vector<int64_t> entries;
};

struct TapRules {
  Area grid;                             // of every phase
  std::vector<Phase> forward, backward;  // backward: the gradient of the input
  std::vector<GradientTap> gradient;
  int64_t x_step = 1, d_step = 1;  // of the gradient's taps
};

/// area: of the input.
TapRules tap_rules(Form form, Area area);

}  // namespace scorenet::models::cpu
