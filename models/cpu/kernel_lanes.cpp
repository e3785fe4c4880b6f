#include "models/cpu/kernel_lanes.hpp"

#include "models/cpu/targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "models/cpu/kernel_lanes.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace scorenet::models::cpu {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// to[r to_row + i] = from[i from_row + r] for four i and four r.
#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void transpose_square(const float* from, int64_t from_row, float* to, int64_t to_row) {
  for (int64_t r = 0; r < 4; ++r)
    for (int64_t i = 0; i < 4; ++i) to[r * to_row + i] = from[i * from_row + r];
}
#else
HWY_INLINE void transpose_square(const float* from, int64_t from_row, float* to, int64_t to_row) {
  const hn::FixedTag<float, 4> d;
  const hn::RepartitionToWide<hn::FixedTag<float, 4> > pairs;
  const auto row = [&](int64_t i) { return hn::LoadU(d, from + i * from_row); };
  const auto low = [&](auto a, auto b) { return hn::BitCast(pairs, hn::InterleaveLower(d, a, b)); };
  const auto high = [&](auto a, auto b) {
    return hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
  };
  const auto store = [&](int64_t r, auto v) { hn::StoreU(hn::BitCast(d, v), d, to + r * to_row); };
  const auto v0 = row(0), v1 = row(1), v2 = row(2), v3 = row(3);
  const auto a = low(v0, v1), b = low(v2, v3), c = high(v0, v1), e = high(v2, v3);
  store(0, hn::InterleaveLower(pairs, a, b));
  store(1, hn::InterleaveUpper(pairs, a, b));
  store(2, hn::InterleaveLower(pairs, c, e));
  store(3, hn::InterleaveUpper(pairs, c, e));
}
#endif

void GatherLanes(const float* from, int64_t stride, int64_t lanes, int64_t count, float* to) {
  const int64_t whole_lanes = lanes / 4 * 4, whole = count / 4 * 4;
  for (int64_t i = 0; i < whole; i += 4)
    for (int64_t l = 0; l < whole_lanes; l += 4)
      transpose_square(from + l * stride + i, stride, to + i * kBlock + l, kBlock);
  for (int64_t i = 0; i < count; ++i)
    for (int64_t l = i < whole ? whole_lanes : 0; l < kBlock; ++l)
      to[i * kBlock + l] = l < lanes ? from[l * stride + i] : 0.0f;
}

void ScatterLanes(const float* from, int64_t stride, int64_t lanes, int64_t count, float* to) {
  const int64_t whole_lanes = lanes / 4 * 4, whole = count / 4 * 4;
  for (int64_t i = 0; i < whole; i += 4)
    for (int64_t l = 0; l < whole_lanes; l += 4)
      transpose_square(from + i * kBlock + l, kBlock, to + l * stride + i, stride);
  for (int64_t l = 0; l < lanes; ++l)
    for (int64_t i = l < whole_lanes ? whole : 0; i < count; ++i)
      to[l * stride + i] = from[i * kBlock + l];
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace scorenet::models::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace scorenet::models::cpu {

HWY_EXPORT(GatherLanes);
HWY_EXPORT(ScatterLanes);

void gather_lanes(const float* from, int64_t stride, int64_t lanes, int64_t count, float* to) {
  HWY_DYNAMIC_DISPATCH(GatherLanes)(from, stride, lanes, count, to);
}

void scatter_lanes(const float* from, int64_t stride, int64_t lanes, int64_t count, float* to) {
  HWY_DYNAMIC_DISPATCH(ScatterLanes)(from, stride, lanes, count, to);
}

}  // namespace scorenet::models::cpu
#endif
