// Gradients that travel as bfloat16 and are added up in float32: half the bytes of an all-reduce,
// and two roundings for any number of ranks.
//
// Each rank receives its part of the bucket from all ranks (all-to-all), adds the n parts in
// float32 in rank order and sends the sum to all ranks (all-gather). With unit roundoff u = 2^-8
// the error of a sum is at most u (sum |g_r| + |sum g_r|) to first order; an all-reduce in bfloat16
// would round at every hop.
#pragma once

#include "framework/reduce/bucket_traffic.hpp"

namespace scorenet::reduce {

/// float32 gradients. The sums are equal on all ranks, bit for bit.
MakeTraffic bf16_traffic();

}  // namespace scorenet::reduce
