#include "models/cpu/winograd.hpp"

#include "models/cpu/targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "models/cpu/winograd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace scorenet::models::cpu {
namespace HWY_NAMESPACE {
namespace {

#include "models/cpu/vector.inl"

// The matrices along one axis: B^T, A and A^T. Points come in pairs +-a, whose even and odd parts
// are shared.
struct Two {
  static constexpr int kSide = 2, kRead = 4;
  static HWY_INLINE void input(const V* x, V* v) {
    v[0] = hn::Sub(x[0], x[2]);
    v[1] = hn::Add(x[1], x[2]);
    v[2] = hn::Sub(x[2], x[1]);
    v[3] = hn::Sub(x[1], x[3]);
  }
  static HWY_INLINE void gradient(const V* d, V* v) {
    v[0] = d[0];
    v[1] = hn::Add(d[0], d[1]);
    v[2] = hn::Sub(d[0], d[1]);
    v[3] = hn::Neg(d[1]);
  }
  static HWY_INLINE void output(const V* m, V* y) {
    y[0] = hn::Add(hn::Add(m[0], m[1]), m[2]);
    y[1] = hn::Sub(hn::Sub(m[1], m[2]), m[3]);
  }
};

struct Four {
  static constexpr int kSide = 4, kRead = 6;
  static HWY_INLINE V of(float number) { return hn::Set(D(), number); }
  static HWY_INLINE void input(const V* x, V* v) {
    const V near = of(kNear), far = of(kFar), near2 = of(kNear * kNear), far2 = of(kFar * kFar);
    const V both2 = of(kNear * kNear + kFar * kFar);
    // Row 0 is (t^2 - near^2) (t^2 - far^2), with near far = 1; the others have one of the factors.
    v[0] = hn::Add(hn::NegMulAdd(both2, x[2], x[0]), x[4]);
    const V even_near = hn::NegMulAdd(far2, x[2], x[4]),
            even_far = hn::NegMulAdd(near2, x[2], x[4]);
    const V odd_near = hn::MulSub(near, x[3], hn::Mul(far, x[1]));
    const V odd_far = hn::MulSub(far, x[3], hn::Mul(near, x[1]));
    v[1] = hn::Add(even_near, odd_near);
    v[2] = hn::Sub(even_near, odd_near);
    v[3] = hn::Add(even_far, odd_far);
    v[4] = hn::Sub(even_far, odd_far);
    v[5] = hn::Add(hn::NegMulAdd(both2, x[3], x[1]), x[5]);
  }
  static HWY_INLINE void gradient(const V* d, V* v) {
    const V near = of(kNear), far = of(kFar), near2 = of(kNear * kNear), far2 = of(kFar * kFar);
    const V even_near = hn::MulAdd(near2, d[2], d[0]), even_far = hn::MulAdd(far2, d[2], d[0]);
    const V odd_near = hn::Mul(near, hn::MulAdd(near2, d[3], d[1]));
    const V odd_far = hn::Mul(far, hn::MulAdd(far2, d[3], d[1]));
    v[0] = d[0];
    v[1] = hn::Add(even_near, odd_near);
    v[2] = hn::Sub(even_near, odd_near);
    v[3] = hn::Add(even_far, odd_far);
    v[4] = hn::Sub(even_far, odd_far);
    v[5] = d[3];
  }
  static HWY_INLINE void output(const V* m, V* y) {
    const V near2 = of(kNear * kNear), far2 = of(kFar * kFar);
    const V even_near = hn::Add(m[1], m[2]), even_far = hn::Add(m[3], m[4]);
    const V odd_near = hn::Mul(of(kNear), hn::Sub(m[1], m[2]));
    const V odd_far = hn::Mul(of(kFar), hn::Sub(m[3], m[4]));
    y[0] = hn::Add(m[0], hn::Add(even_near, even_far));
    y[1] = hn::Add(odd_near, odd_far);
    y[2] = hn::MulAdd(near2, even_near, hn::Mul(far2, even_far));
    y[3] = hn::Add(m[5], hn::MulAdd(near2, odd_near, hn::Mul(far2, odd_far)));
  }
};

// Reads kFrom x kFrom pixels of each tile, applies the matrix along both axes, and writes the
// numbers to their planes.
template <class Tile, int kFrom, void (*kMatrix)(const V*, V*)>
void to_planes(const TileRow& row, const float* corner, int64_t step, int64_t x_row, float* v) {
  const D d;
  constexpr int kRead = Tile::kRead;
  for (int64_t tile = 0; tile < row.tiles; ++tile) {
    for (int64_t c = 0; c < row.channels; c += kLanes) {
      V t[kRead][kFrom];  // column j of what the matrix makes along the rows
      HWY_UNROLL(6)
      for (int i = 0; i < kFrom; ++i) {
        V x[kFrom], along[kRead];
        HWY_UNROLL(6)
        for (int j = 0; j < kFrom; ++j) x[j] = hn::LoadU(d, corner + i * x_row + j * step + c);
        kMatrix(x, along);
        HWY_UNROLL(6)
        for (int j = 0; j < kRead; ++j) t[j][i] = along[j];
      }
      HWY_UNROLL(6)
      for (int j = 0; j < kRead; ++j) {
        V across[kRead];
        kMatrix(t[j], across);
        HWY_UNROLL(6)
        for (int i = 0; i < kRead; ++i)
          hn::StoreU(across[i], d, v + (i * kRead + j) * row.plane + c);
      }
    }
    corner += Tile::kSide * step;
    v += row.step;
  }
}

template <class Tile>
void output_of(const TileRow& row, const float* m, const WinogradTarget& target) {
  const D d;
  constexpr int kRead = Tile::kRead, kSide = Tile::kSide;
  for (int64_t tile = 0; tile < row.tiles; ++tile, m += row.step) {
    float* out = target.corner + kSide * tile * target.step;
    const float* residual = target.residual != nullptr
                                ? target.residual + kSide * tile * target.residual_step
                                : nullptr;
    for (int64_t c = 0; c < row.channels; c += kLanes) {
      V t[kSide][kRead];  // A^T m
      HWY_UNROLL(6)
      for (int j = 0; j < kRead; ++j) {
        V x[kRead], across[kSide];
        HWY_UNROLL(6)
        for (int i = 0; i < kRead; ++i) x[i] = hn::LoadU(d, m + (i * kRead + j) * row.plane + c);
        Tile::output(x, across);
        HWY_UNROLL(4)
        for (int i = 0; i < kSide; ++i) t[i][j] = across[i];
      }
      const V add = target.add != nullptr ? hn::LoadU(d, target.add + c) : hn::Zero(d);
      HWY_UNROLL(4)
      for (int i = 0; i < kSide; ++i) {
        V y[kSide];
        Tile::output(t[i], y);
        HWY_UNROLL(4)
        for (int j = 0; j < kSide; ++j) {
          V sum = hn::Add(y[j], add);
          if (residual != nullptr) {
            const float* p = residual + i * target.residual_row + j * target.residual_step + c;
            sum = hn::Add(sum, hn::LoadU(d, p));
          }
          hn::StoreU(sum, d, out + i * target.row + j * target.step + c);
        }
      }
    }
  }
}

void WinogradInput(const TileRow& row, const float* corner, int64_t step, int64_t x_row, float* v) {
  (row.side == 4 ? to_planes<Four, Four::kRead, Four::input>
                 : to_planes<Two, Two::kRead, Two::input>)(row, corner, step, x_row, v);
}

void WinogradGradient(const TileRow& row, const float* corner, int64_t step, int64_t d_row,
                      float* v) {
  (row.side == 4 ? to_planes<Four, Four::kSide, Four::gradient>
                 : to_planes<Two, Two::kSide, Two::gradient>)(row, corner, step, d_row, v);
}

void WinogradOutput(const TileRow& row, const float* m, const WinogradTarget& target) {
  (row.side == 4 ? output_of<Four> : output_of<Two>)(row, m, target);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace scorenet::models::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace scorenet::models::cpu {

HWY_EXPORT(WinogradInput);
HWY_EXPORT(WinogradGradient);
HWY_EXPORT(WinogradOutput);

void winograd_input(const TileRow& row, const float* corner, int64_t step, int64_t x_row,
                    float* v) {
  HWY_DYNAMIC_DISPATCH(WinogradInput)(row, corner, step, x_row, v);
}

void winograd_gradient(const TileRow& row, const float* corner, int64_t step, int64_t d_row,
                       float* v) {
  HWY_DYNAMIC_DISPATCH(WinogradGradient)(row, corner, step, d_row, v);
}

void winograd_output(const TileRow& row, const float* m, const WinogradTarget& target) {
  HWY_DYNAMIC_DISPATCH(WinogradOutput)(row, m, target);
}

}  // namespace scorenet::models::cpu
#endif
