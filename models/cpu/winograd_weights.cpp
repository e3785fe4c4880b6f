#include "models/cpu/winograd_weights.hpp"

#include "models/cpu/targets.hpp"
#include "models/cpu/winograd.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "models/cpu/winograd_weights.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace scorenet::models::cpu {
namespace HWY_NAMESPACE {
namespace {

#include "models/cpu/vector.inl"

HWY_INLINE V times(float number, V v) { return hn::Mul(hn::Set(D(), number), v); }

// G along one axis, from three numbers of a kernel to those of a tile, and its transpose.
struct Two {
  static constexpr int kRead = 4;
  static HWY_INLINE void weights(const V* k, V* u) {
    const V even = times(0.5f, hn::Add(k[0], k[2])), odd = times(0.5f, k[1]);
    u[0] = k[0];
    u[1] = hn::Add(even, odd);
    u[2] = hn::Sub(even, odd);
    u[3] = k[2];
  }
  static HWY_INLINE void kernel(const V* u, V* k) {
    const V even = times(0.5f, hn::Add(u[1], u[2]));
    k[0] = hn::Add(u[0], even);
    k[1] = times(0.5f, hn::Sub(u[1], u[2]));
    k[2] = hn::Add(even, u[3]);
  }
};

// The kernel's polynomial at the points, each divided by its distances from the others.
struct Four {
  static constexpr int kRead = 6;
  static constexpr float kNear2 = kNear * kNear, kFar2 = kFar * kFar;
  static constexpr float kOfNear = 0.5f / (kNear2 * (kNear2 - kFar2));
  static constexpr float kOfFar = 0.5f / (kFar2 * (kFar2 - kNear2));
  static HWY_INLINE void weights(const V* k, V* u) {
    const V even_near = hn::Add(times(kOfNear, k[0]), times(kOfNear * kNear2, k[2]));
    const V even_far = hn::Add(times(kOfFar, k[0]), times(kOfFar * kFar2, k[2]));
    const V odd_near = times(kOfNear * kNear, k[1]), odd_far = times(kOfFar * kFar, k[1]);
    u[0] = k[0];
    u[1] = hn::Add(even_near, odd_near);
    u[2] = hn::Sub(even_near, odd_near);
    u[3] = hn::Add(even_far, odd_far);
    u[4] = hn::Sub(even_far, odd_far);
    u[5] = k[2];
  }
  static HWY_INLINE void kernel(const V* u, V* k) {
    const V even_near = times(kOfNear, hn::Add(u[1], u[2]));
    const V even_far = times(kOfFar, hn::Add(u[3], u[4]));
    k[0] = hn::Add(u[0], hn::Add(even_near, even_far));
    k[1] = hn::Add(times(kOfNear * kNear, hn::Sub(u[1], u[2])),
                   times(kOfFar * kFar, hn::Sub(u[3], u[4])));
    k[2] = hn::Add(u[5], hn::Add(times(kNear2, even_near), times(kFar2, even_far)));
  }
};

template <class Tile>
void weights_of(const float* kernels, int64_t step, int64_t plane, float* to) {
  const D d;
  constexpr int n = Tile::kRead;
  for (int64_t l = 0; l < kBlock; l += kLanes) {
    V u[n][3];
    HWY_UNROLL(3)
    for (int x = 0; x < 3; ++x) {
      V k[3], across[n];
      HWY_UNROLL(3)
      for (int y = 0; y < 3; ++y) k[y] = hn::LoadU(d, kernels + (3 * y + x) * step * kBlock + l);
      Tile::weights(k, across);
      HWY_UNROLL(6)
      for (int y = 0; y < n; ++y) u[y][x] = across[y];
    }
    HWY_UNROLL(6)
    for (int y = 0; y < n; ++y) {
      V along[n];
      Tile::weights(u[y], along);
      HWY_UNROLL(6)
      for (int x = 0; x < n; ++x) hn::StoreU(along[x], d, to + (n * y + x) * plane + l);
    }
  }
}

template <class Tile>
void kernels_of(const float* u, int64_t plane, float* kernels) {
  const D d;
  constexpr int n = Tile::kRead;
  for (int64_t l = 0; l < kBlock; l += kLanes) {
    V t[3][n];
    HWY_UNROLL(6)
    for (int x = 0; x < n; ++x) {
      V of_tile[n], across[3];
      HWY_UNROLL(6)
      for (int y = 0; y < n; ++y) of_tile[y] = hn::LoadU(d, u + (n * y + x) * plane + l);
      Tile::kernel(of_tile, across);
      HWY_UNROLL(3)
      for (int y = 0; y < 3; ++y) t[y][x] = across[y];
    }
    HWY_UNROLL(3)
    for (int y = 0; y < 3; ++y) {
      V along[3];
      Tile::kernel(t[y], along);
      HWY_UNROLL(3)
      for (int x = 0; x < 3; ++x) hn::StoreU(along[x], d, kernels + (3 * y + x) * kBlock + l);
    }
  }
}

void WinogradWeights(int64_t side, const float* kernels, int64_t step, int64_t plane, float* to) {
  (side == 4 ? weights_of<Four> : weights_of<Two>)(kernels, step, plane, to);
}

void WinogradKernels(int64_t side, const float* u, int64_t plane, float* kernels) {
  (side == 4 ? kernels_of<Four> : kernels_of<Two>)(u, plane, kernels);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace scorenet::models::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace scorenet::models::cpu {

HWY_EXPORT(WinogradWeights);
HWY_EXPORT(WinogradKernels);

void winograd_weights(int64_t side, const float* kernels, int64_t step, int64_t plane, float* to) {
  HWY_DYNAMIC_DISPATCH(WinogradWeights)(side, kernels, step, plane, to);
}

void winograd_kernels(int64_t side, const float* u, int64_t plane, float* kernels) {
  HWY_DYNAMIC_DISPATCH(WinogradKernels)(side, u, plane, kernels);
}

}  // namespace scorenet::models::cpu
#endif
