// The passes over pixels of which group norm with SiLU is made, forward and backward.
//
// Pixels outside, channels inside: lines of memory are read whole and in order. Sums over a row are
// float32, sums over rows float64.
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

// All views: the first image alone counts. Arrays: a number for each of x.channels.

/// sum[c] = sum over pixels of x; squares[c] = of x^2, or null.
void channel_sums(const View& x, double* sum, double* squares);

/// y = scale x + shift, or z sigmoid(z) of it.
void scale_and_shift(const View& x, const float* scale, const float* shift, bool silu,
                     const View& y);

/// Gradient g of z = scale x + shift, in place of d_y; its sums over pixels, and those of g x.
void unscale(const View& x, const float* scale, const float* shift, bool silu, const View& d_y,
             double* sum, double* sum_x);

/// d_x = k1 g + k2 x + k3 + more[0] + more[1] (null: not there; may be d_x).
/// channels[c] = sum over pixels of k1 g + k2 x + k3; or null.
struct Combination {
  const float* k1;
  const float* k2;
  const float* k3;
  const View* more[2];
};
void combine(const View& g, const View& x, const Combination& factors, const View& d_x,
             float* channels);

/// x *= factor keep; keep: 0 or 1 for each channel of each pixel, pixel by pixel.
void drop(const View& x, const uint8_t* keep, float factor);

}  // namespace scorenet::models::cpu
