// Element-wise loops of the CPU fast path, compiled for AVX-512. The rest of the program need not
// be compiled for it.
//
// Call only where fast_path_available() (fast_path.hpp) says yes. Plain pointers and no library
// types, so that this object file exports nothing that other files might link by accident. An
// element is float, or bfloat16 as its uint16_t bits; every sum is taken in float32 or float64. A
// view is one image in padded NHWC: pixel (y, x), 0 <= y < height, 0 <= x < width, stands at
// data + ((y + 1) (width + 2) + x + 1) stride, with a border of one pixel all around; its channels,
// a multiple of 16, are `channels` neighbours of the `stride` that a pixel has.
#pragma once

#include <cstdint>

namespace scorenet::models::kernels {

template <class T>
struct View {
  T* data;
  int64_t channels;
  int64_t stride;
};

struct Area {
  int64_t height;
  int64_t width;
};

/// sum[c] += sum over pixels of x, squares[c] += of x^2 (null: not wanted).
template <class T>
void add_channel_sums(View<const T> x, Area area, double* sum, double* squares);

/// z = scale[c] x + shift[c]; out = z, or z sigmoid(z) if silu.
template <class T>
void scale_shift(View<const T> x, Area area, const float* scale, const float* shift, bool silu,
                 View<T> out);

/// Given the gradient d_out of scale_shift's result: g = d_out dz (dense,
/// height * width * channels), and per channel sum_g += sum of g, sum_gx += sum of g x.
template <class T>
void scale_shift_gradient(View<const T> x, View<const T> d_out, Area area, const float* scale,
                          const float* shift, bool silu, float* g, double* sum_g, double* sum_gx);

/// dx = k1[c] g + k2[c] x + k3[c] + residual (null data: none); sum[c] += sum of dx before the
/// residual (null: not wanted).
template <class T>
void combine_gradient(const float* g, View<const T> x, Area area, const float* k1, const float* k2,
                      const float* k3, View<const T> residual, View<T> dx, double* sum);

/// out[i][c] = values[i][c] + add[c] + residual[i][c] for i < pixels; `add` and residual may be
/// null. values: dense, pixels * channels. out, residual: pixels out_stride, residual_stride apart.
template <class T>
void store_pixels(const float* values, int64_t pixels, int64_t channels, const float* add,
                  const T* residual, int64_t residual_stride, T* out, int64_t out_stride);

/// out[c][p] = in[p][c]: in with in_stride elements a pixel, out with out_stride (>= pixels rounded
/// up to 16) a channel; columns beyond `pixels` up to out_stride are zeroed.
template <class T>
void transpose(const T* in, int64_t in_stride, int64_t pixels, int64_t channels, T* out,
               int64_t out_stride);

/// out[p / 2][c][p % 2] = in[p][c], the order in which bfloat16 products want their right factor.
/// An odd last pixel is paired with zero.
void pair_pixels(const uint16_t* in, int64_t in_stride, int64_t pixels, int64_t channels,
                 uint16_t* out);

}  // namespace scorenet::models::kernels
