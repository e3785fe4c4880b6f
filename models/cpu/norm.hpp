// The passes over an image of which group norm with SiLU is made, forward and backward.
//
// Each loops over pixels outside and channels inside, so memory is read in order. A sum over a row
// of pixels is float32, a sum over rows float64.
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

// Of each view only the first image is used. An array has a number for each of x.channels.

/// sum[c] = the sum of x over pixels, squares[c] = that of x^2. squares may be null.
void channel_sums(const View& x, double* sum, double* squares);

/// y = z or, with silu, z sigmoid(z), where z = scale x + shift.
void scale_and_shift(const View& x, const float* scale, const float* shift, bool silu,
                     const View& y);

/// Overwrites d_y by g, the gradient of z = scale x + shift; sum = the sum of g over pixels, sum_x
/// that of g x.
void unscale(const View& x, const float* scale, const float* shift, bool silu, const View& d_y,
             double* sum, double* sum_x);

/// d_x = k1 g + k2 x + k3 + more[0] + more[1]. Either of `more` may be null, or d_x itself.
/// channels[c] = the sum of k1 g + k2 x + k3 over pixels; may be null.
struct Combination {
  const float* k1;
  const float* k2;
  const float* k3;
  const View* more[2];
};
void combine(const View& g, const View& x, const Combination& factors, const View& d_x,
             float* channels);

/// Dropout: x *= factor keep, where keep is 0 or 1 for each channel, pixel by pixel.
void drop(const View& x, const uint8_t* keep, float factor);

}  // namespace scorenet::models::cpu
