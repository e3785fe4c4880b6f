// The passes over tokens of the transformer's CPU route, on plain pointers. They compute what the
// CUDA kernels of kernels/token_kernels.hpp do, and take the same structures.
//
// Elements are float32 or bfloat16, with any number of channels; sums are float32. Each call works
// on a part of one image's tokens and makes the sums of that part, in the order of the tokens. So
// no bit depends on the batch, or on which thread runs which part.
#pragma once

#include "models/cpu/view.hpp"
#include "models/kernels/token_kernels.hpp"

namespace scorenet::models::cpu {

using kernels::TokenGate;
using kernels::TokenGateBackward;
using kernels::TokenNorm;
using kernels::TokenNormBackward;
using kernels::TokenShape;

/// How many tokens a part has.
constexpr int64_t kPartTokens = 64;
constexpr int64_t parts_of(const TokenShape& shape) {
  return (shape.tokens + kPartTokens - 1) / kPartTokens;
}

/// Part `part` of image `image`.
struct TokenPart {
  int64_t image, part;
};

void token_norm(const TokenShape& shape, const TokenNorm& data, TokenPart at);
/// data.sums is (B, parts_of(shape), 2, C), here and for the gate.
void token_norm_backward(const TokenShape& shape, const TokenNormBackward& data, TokenPart at);

void token_gate(const TokenShape& shape, const TokenGate& data, TokenPart at);
void token_gate_backward(const TokenShape& shape, const TokenGateBackward& data, TokenPart at);

/// y = gelu(h + bias), the form with tanh. bias: (C).
struct TokenGelu {
  const void* h;
  const float* bias;
  void* y;
};
void token_gelu(const TokenShape& shape, const TokenGelu& data, TokenPart at);

struct TokenGeluBackward {
  const void* h;
  const float* bias;
  const void* d_y;
  void* d_h;
  float* sums;  // (B, parts, C): over a part's tokens of d_h
};
void token_gelu_backward(const TokenShape& shape, const TokenGeluBackward& data, TokenPart at);

/// The heads of three tensors side by side. Channel c of head h of token t of image b stands in
/// tensor i at parts[i] + b image[i] + h head[i] + t token[i] + c, and becomes channel
/// i C + h (C / heads) + c of out (B, T, 3 C).
struct TokenJoin {
  int64_t heads;
  const void* parts[3];
  int64_t image[3], head[3], token[3];
  void* out;
  float* sums;  // (B, parts, 3 C): over a part's tokens of out
};
void token_join(const TokenShape& shape, const TokenJoin& data, TokenPart at);

}  // namespace scorenet::models::cpu
