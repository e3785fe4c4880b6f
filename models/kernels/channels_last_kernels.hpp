// The CUDA kernels of the GPU route, on plain pointers: nvcc compiles files without tensors, and
// files with tensors do not need nvcc.
//
// An image is dense NHWC: channel c of pixel p of image b stands at (b pixels + p) channels + c.
// Sums, statistics and parameters are float32. Every sum is a tree whose shape the sizes alone fix,
// so that a repetition has the same bits. A launch is queued on `stream` and waits for nothing; it
// returns null, or CUDA's words for what went wrong.
#pragma once

#include <cstdint>

#include "models/kernels/norm_formulas.hpp"

struct CUstream_st;  // cudaStream_t points to it

namespace scorenet::models::kernels {

using Stream = CUstream_st*;
using LaunchError = const char*;

enum class Element { float32, bfloat16, float16 };

struct ImageShape {
  int64_t batch;
  int64_t pixels;
  int64_t channels;
  Element element;
};

struct NormRule {
  int64_t groups;  // divide the channels
  float eps;
  bool silu;
};

/// Whether the code was compiled for that device: 8.0 and newer.
bool device_runs_kernels(int device);

/// Whether a block's shared memory holds the sums of one group.
bool norm_fits(const ImageShape& shape, int64_t groups);

/// With u = x + shift (a number each image and channel) and x_hat = (u - mean) / sqrt(var + eps) of
/// a group: y = silu(weight x_hat + bias), or without the SiLU.
struct NormForward {
  const void* x;
  const float* shift;  // (B, C), or null
  const float* weight;
  const float* bias;
  void* y;
  float* statistics;  // (B, groups, 2): mean and 1 / standard deviation
  float* centres;     // (B, C): the mean of x_hat over the pixels of a channel. Null: not wanted
};
LaunchError launch_norm_forward(const ImageShape& shape, const NormRule& rule,
                                const NormForward& data, Stream stream);

struct NormBackward {
  const void* x;
  const float* shift;  // as forward
  const float* weight;
  const float* bias;
  const float* statistics;
  const float* centres;  // null where d_shift is
  const void* d_y;
  const void* d_beside;  // added to d_x, as x; or null
  void* d_x;
  float* d_shift;       // (B, C): the sum of d_x over the pixels, without d_beside. Or null
  float* channel_sums;  // (B, 2, C): sums over pixels of d_z x_hat and of d_z, for column_sums
};
LaunchError launch_norm_backward(const ImageShape& shape, const NormRule& rule,
                                 const NormBackward& data, Stream stream);

/// out[c] = sum over rows of table[row][c].
LaunchError launch_column_sums(const float* table, int64_t rows, int64_t columns, float* out,
                               Stream stream);

/// y = h + bias + residual, the bias (C) or the residual null.
LaunchError launch_add(const ImageShape& shape, const void* h, const float* bias,
                       const void* residual, void* y, Stream stream);

/// Zeroes elements of x and multiplies the others by `scale`. Element (b, c, p) stays where the
/// uniform of word c pixels + p, drawn by Philox 4x32-10 for (key, slots[b]), is at least
/// `probability` (core/random.hpp).
struct Dropout {
  const int64_t* key;    // (1)
  const int64_t* slots;  // (B)
  float probability;
  float scale;
};
LaunchError launch_dropout(const ImageShape& shape, const Dropout& rule, const void* x, void* y,
                           Stream stream);

/// How many rows of partial sums launch_channel_sums makes of such an image.
int64_t channel_sum_rows(const ImageShape& shape);
/// partial: (channel_sum_rows, C), the sums of x over parts of the images' pixels.
LaunchError launch_channel_sums(const ImageShape& shape, const void* x, float* partial,
                                Stream stream);

}  // namespace scorenet::models::kernels
