#include "models/cpu/row_passes.hpp"

#include <algorithm>

#include "models/cpu/bf16_kernels.hpp"
#include "models/cpu/targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "models/cpu/row_passes.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace scorenet::models::cpu {
namespace HWY_NAMESPACE {
namespace {

#include "models/cpu/elements.inl"

// Rows lie so far apart that the processor does not foresee them.
constexpr int64_t kRowsAhead = 8;

void RoundBehindBias(const Bf16* from, int64_t step, RowsShape shape, const float* bias, Bf16* to,
                     int64_t chunk) {
  for (int64_t r = 0; r < shape.rows; ++r, from += step, to += kDepth) {
    for (int64_t c = 0; c < shape.channels; c += kDepth) {
      const int64_t count = std::min(kDepth, shape.channels - c);
      Bf16* const out = to + c / kDepth * chunk;
      if (r + kRowsAhead < shape.rows) hwy::Prefetch(from + kRowsAhead * step + c);
      if (count < kDepth) std::fill_n(out, kDepth, Bf16{0});
      for_channels(count, [&](const auto& at) HWY_ATTR {
        const V v = at.from(from + c);
        at.to(out, bias != nullptr ? hn::Add(v, at.from(bias + c)) : v);
      });
    }
  }
}

void RoundRows(const float* from, int64_t from_step, RowsShape shape, Bf16* to, int64_t step,
               float* sums) {
  if (sums != nullptr) std::fill_n(sums, shape.channels, 0.0f);
  for (int64_t r = 0; r < shape.rows; ++r, from += from_step, to += step) {
    for_channels(shape.channels, [&](const auto& at) HWY_ATTR {
      const V v = at.from(from);
      at.to(to, v);
      if (sums != nullptr) add_to(sums, at, v);
    });
  }
}

void SumRows(const float* table, int64_t rows, int64_t columns, float* out) {
  std::fill_n(out, columns, 0.0f);
  for (int64_t r = 0; r < rows; ++r, table += columns)
    for_channels(columns, [&](const auto& at) HWY_ATTR { add_to(out, at, at.from(table)); });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace scorenet::models::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace scorenet::models::cpu {

HWY_EXPORT(RoundBehindBias);
HWY_EXPORT(RoundRows);
HWY_EXPORT(SumRows);

void round_behind_bias(const Bf16* from, int64_t step, RowsShape shape, const float* bias, Bf16* to,
                       int64_t chunk) {
  HWY_DYNAMIC_DISPATCH(RoundBehindBias)(from, step, shape, bias, to, chunk);
}

void round_rows(const float* from, int64_t from_step, RowsShape shape, Bf16* to, int64_t step,
                float* sums) {
  HWY_DYNAMIC_DISPATCH(RoundRows)(from, from_step, shape, to, step, sums);
}

void sum_rows(const float* table, int64_t rows, int64_t columns, float* out) {
  HWY_DYNAMIC_DISPATCH(SumRows)(table, rows, columns, out);
}

}  // namespace scorenet::models::cpu
#endif
