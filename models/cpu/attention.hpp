// Self-attention over the pixels of an image, without its linear layers: softmax(q k^T / sqrt(d)) v
// for each head, and the gradient. Sums and the softmax are float32 in either arithmetic.
#pragma once

#include "models/cpu/convolution.hpp"
#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

struct Heads {
  int64_t count = 1;
  int64_t channels = 0;  // of one head; head h begins at channel h channels
};

/// Queries, keys, values and what attention makes of them: views of one size, with all heads.
struct AttentionViews {
  View q, k, v, mixed;
};

/// Writes t.mixed.
void attend(const AttentionViews& t, const Heads& heads, Arithmetic arithmetic, int64_t images);
/// Reads gradient.mixed and writes the other three. It computes the weights of attention again.
void attend_gradient(const AttentionViews& t, const AttentionViews& gradient, const Heads& heads,
                     Arithmetic arithmetic, int64_t images);

}  // namespace scorenet::models::cpu
