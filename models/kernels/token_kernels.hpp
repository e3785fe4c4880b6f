// The CUDA kernels of the transformer's route, on plain pointers (channels_last_kernels.hpp
// tells why, and how a launch behaves). What they are given, the CPU's kernels are, too.
//
// Tokens are dense (B, T, C): channel c of token t of image b stands at ((b T) + t) C + c. What
// modulates them is a row of C for each image, of the same element type; rows may lie apart.
#pragma once

#include "models/kernels/channels_last_kernels.hpp"

namespace scorenet::models::kernels {

struct TokenShape {
  int64_t batch;
  int64_t tokens;
  int64_t channels;
  Element element;
};

/// (B, C): image b's row begins at data + b stride, in elements.
struct ImageRows {
  const void* data;
  int64_t stride;
};

/// Whether rows of so many channels are moved in whole packs, by one warp each.
bool tokens_fit(const TokenShape& shape);

/// Into how many parts the tokens of an image are cut for sums over them.
int64_t token_parts(const TokenShape& shape);

/// With x_hat = (x - mean) / sqrt(var + eps) of a token: y = x_hat (1 + scale) + shift.
struct TokenNorm {
  const void* x;
  ImageRows shift, scale;
  float eps;
  void* y;
  float* statistics;  // (B T, 2): mean and 1 / standard deviation
};
LaunchError launch_token_norm(const TokenShape& shape, const TokenNorm& data, Stream stream);

struct TokenNormBackward {
  const void* x;
  ImageRows scale;
  const float* statistics;
  const void* d_y;
  const void* d_beside;  // added to d_x; or null
  void* d_x;
  float* sums;  // (B, token_parts, 2, C): over a part's tokens of d_y and of d_y x_hat
};
LaunchError launch_token_norm_backward(const TokenShape& shape, const TokenNormBackward& data,
                                       Stream stream);

/// y = residual + gate (h + bias).
struct TokenGate {
  const void* residual;
  ImageRows gate;
  const void* h;
  const float* bias;  // (C)
  void* y;
};
LaunchError launch_token_gate(const TokenShape& shape, const TokenGate& data, Stream stream);

struct TokenGateBackward {
  ImageRows gate;
  const void* h;
  const float* bias;
  const void* d_y;
  void* d_h;    // gate d_y
  float* sums;  // (B, token_parts, 2, C): over a part's tokens of d_y (h + bias) and of d_y
};
LaunchError launch_token_gate_backward(const TokenShape& shape, const TokenGateBackward& data,
                                       Stream stream);

/// y = gelu(h + bias), the form with tanh. bias: (C).
LaunchError launch_gelu(const ImageShape& shape, const void* h, const float* bias, void* y,
                        Stream stream);
/// d_h, and into partial (channel_sum_rows, C) its sums over parts of the pixels.
LaunchError launch_gelu_backward(const ImageShape& shape, const void* h, const float* bias,
                                 const void* d_y, void* d_h, float* partial, Stream stream);

/// Three tensors side by side: out (pixels, 3 C), into partial (channel_sum_rows, 3 C) the sums of
/// out over parts of the pixels. shape: of one of the three.
struct Triple {
  const void* parts[3];
};
LaunchError launch_join(const ImageShape& shape, const Triple& triple, void* out, float* partial,
                        Stream stream);

}  // namespace scorenet::models::kernels
