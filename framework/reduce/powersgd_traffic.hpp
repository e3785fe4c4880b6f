// PowerSGD with error feedback (Vogels, Karimireddy, Jaggi 2019, arXiv:1905.13727, algorithms
// 1 and 2).
//
// A gradient of shape (m, ...) is a matrix M_r (m, k) on rank r, to which what was left out before,
// E_r, is added. With Q (k, rank) from the step before:
//     P = orthonormalised(sum_r M_r Q),   Q = sum_r M_r^T P,
//     sum_r M_r ~ P Q^T,                  E_r = M_r - P P^T M_r.
// So over all steps, the sums that were used and the part still left out add up to the true sums.
// Vectors, and matrices that would not become smaller, travel uncompressed. A rank stores E_r and
// Q: slightly more than the size of the gradients.
#pragma once

#include "framework/reduce/bucket_traffic.hpp"

namespace scorenet::reduce {

/// float32 gradients; rank >= 1. Its state: "powersgd.error" (summed) and "powersgd.q.NAME" (equal)
/// a matrix. Where a gradient is not finite on some rank, its sum is not finite on any, and the
/// state stays as it was.
MakeTraffic powersgd_traffic(int64_t rank);

}  // namespace scorenet::reduce
