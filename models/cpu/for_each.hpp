// A loop on ATen's threads.
#pragma once

#include <ATen/Parallel.h>

#include <cstdint>

namespace scorenet::models::cpu {

/// f(i) for 0 <= i < n, on ATen's threads; in one of its parallel regions on this thread alone.
template <class F>
void for_each(int64_t n, const F& f) {
  at::parallel_for(0, n, 1, [&f](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

}  // namespace scorenet::models::cpu
