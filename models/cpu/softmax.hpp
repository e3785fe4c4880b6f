// Softmax of the rows of a matrix, forward and backward, in place. Rows are `stride` floats apart.
// Places behind a row's `keys` numbers, up to whole blocks, become zero.
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

/// s <- softmax(scale s).
void softmax_rows(float* s, int64_t rows, int64_t keys, int64_t stride, float scale);

/// d <- scale p (d - sum(p d)): the gradient of the s above, from that of p = softmax(scale s).
void softmax_gradient_rows(const float* p, float* d, int64_t rows, int64_t keys, int64_t stride,
                           float scale);

}  // namespace scorenet::models::cpu
