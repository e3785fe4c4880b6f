// The core of self-attention over the pixels of an image: softmax(q k^T / sqrt(d)) v for each head,
// and its gradient. Sums and the softmax are float32 in either arithmetic.
#pragma once

#include "models/cpu/convolution.hpp"
#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

struct Heads {
  int64_t count = 1;
  int64_t channels = 0;  // of one head; head h has the channels from h times that on
};

/// q, k, v, mixed: views of one size with all heads' channels.
struct AttentionViews {
  View q, k, v, mixed;
};

void attend(const AttentionViews& t, const Heads& heads, Arithmetic arithmetic, int64_t images);
/// gradient.mixed is read, the other three are written. The weights are computed again.
void attend_gradient(const AttentionViews& t, const AttentionViews& gradient, const Heads& heads,
                     Arithmetic arithmetic, int64_t images);

}  // namespace scorenet::models::cpu
