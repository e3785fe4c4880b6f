#include "models/cpu/softmax.hpp"

#include "models/cpu/targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "models/cpu/softmax.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace scorenet::models::cpu {
namespace HWY_NAMESPACE {
namespace {

#include "models/cpu/simd_math.inl"

constexpr float kPerLog2 = 1.4426950408889634f;

// The lanes of the vector at `i` that lie before `keys`.
HWY_INLINE hn::Mask<D> lanes_before(int64_t keys, int64_t i) {
  return hn::FirstN(D(), static_cast<size_t>(keys > i ? keys - i : 0));
}

void SoftmaxRows(float* s, int64_t rows, int64_t keys, int64_t stride, float scale) {
  const D d;
  const V lowest = hn::Set(d, -3e38f);
  const int64_t whole = whole_blocks(keys);
  for (int64_t r = 0; r < rows; ++r, s += stride) {
    V most = lowest;
    for (int64_t i = 0; i < whole; i += kLanes)
      most = hn::Max(most, hn::IfThenElse(lanes_before(keys, i), hn::LoadU(d, s + i), lowest));
    most = hn::MaxOfLanes(d, most);
    V total = hn::Zero(d);
    for (int64_t i = 0; i < whole; i += kLanes) {
      const V t = hn::Mul(hn::Sub(hn::LoadU(d, s + i), most), hn::Set(d, scale * kPerLog2));
      V e = power_of_two<5>(d, hn::Max(hn::Set(d, -120.0f), t));
      e = hn::IfThenElseZero(lanes_before(keys, i), e);
      total = hn::Add(total, e);
      hn::StoreU(e, d, s + i);
    }
    const V inverse = hn::Div(hn::Set(d, 1.0f), hn::SumOfLanes(d, total));
    for (int64_t i = 0; i < whole; i += kLanes)
      hn::StoreU(hn::Mul(hn::LoadU(d, s + i), inverse), d, s + i);
  }
}

void SoftmaxGradientRows(const float* p, float* g, int64_t rows, int64_t keys, int64_t stride,
                         float scale) {
  const D d;
  const int64_t whole = whole_blocks(keys);
  for (int64_t r = 0; r < rows; ++r, p += stride, g += stride) {
    V total = hn::Zero(d);
    for (int64_t i = 0; i < whole; i += kLanes)
      total = hn::MulAdd(hn::LoadU(d, p + i), hn::LoadU(d, g + i), total);
    total = hn::SumOfLanes(d, total);
    for (int64_t i = 0; i < whole; i += kLanes) {
      const V centred = hn::Sub(hn::LoadU(d, g + i), total);
      hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, p + i), centred), hn::Set(d, scale)), d, g + i);
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace scorenet::models::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace scorenet::models::cpu {

HWY_EXPORT(SoftmaxRows);
HWY_EXPORT(SoftmaxGradientRows);

void softmax_rows(float* s, int64_t rows, int64_t keys, int64_t stride, float scale) {
  HWY_DYNAMIC_DISPATCH(SoftmaxRows)(s, rows, keys, stride, scale);
}

void softmax_gradient_rows(const float* p, float* d, int64_t rows, int64_t keys, int64_t stride,
                           float scale) {
  HWY_DYNAMIC_DISPATCH(SoftmaxGradientRows)(p, d, rows, keys, stride, scale);
}

}  // namespace scorenet::models::cpu
#endif
