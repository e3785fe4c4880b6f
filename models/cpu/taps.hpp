// A convolution as a sum of taps: which pixel each tap reads, and which entries of the kernel it
// multiplies.
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

/// A tap reads the pixel that is (y, x) away and multiplies it by the sum of some kernel entries.
struct TapRule {
  int64_t y, x;
  std::vector<int64_t> entries;
};

/// One pass over a grid. For grid place (i, j) it makes result pixel (out_step i + out_y,
/// out_step j + out_x) from taps around input pixel (in_step i, in_step j).
struct Phase {
  int64_t out_y = 0, out_x = 0, out_step = 1, in_step = 1;
  std::vector<TapRule> taps;
};

/// How many taps a phase, or all of several phases, have.
inline int64_t taps_in(const Phase& phase) { return static_cast<int64_t>(phase.taps.size()); }
int64_t taps_in(const std::vector<Phase>& phases);

/// A tap's part of the gradient of the weights: over the grid, the products of x at x_step (i, j) +
/// (x_y, x_x) and of the result's gradient at d_step (i, j) + (d_y, d_x).
struct GradientTap {
  int64_t x_y, x_x, d_y, d_x;
  std::vector<int64_t> entries;
};

struct TapRules {
  Area grid;                             // the same for every phase
  std::vector<Phase> forward, backward;  // backward: the gradient of the input
  std::vector<GradientTap> gradient;
  int64_t x_step = 1, d_step = 1;  // of the gradient's taps
};

/// For inputs of size `area`.
TapRules tap_rules(Form form, Area area);

}  // namespace scorenet::models::cpu
