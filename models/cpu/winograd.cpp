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

void WinogradInput(const TileRow& row, const float* corner, int64_t step, int64_t x_row, float* v) {
  const D d;
  for (int64_t tile = 0; tile < row.tiles; ++tile, corner += 2 * step, v += row.channels) {
    for (int64_t c = 0; c < row.channels; c += kLanes) {
      V t[4][4];  // x B, one row of the tile after the other
      HWY_UNROLL(4)
      for (int i = 0; i < 4; ++i) {
        const float* p = corner + i * x_row + c;
        const V x0 = hn::LoadU(d, p), x1 = hn::LoadU(d, p + step);
        const V x2 = hn::LoadU(d, p + 2 * step), x3 = hn::LoadU(d, p + 3 * step);
        t[i][0] = hn::Sub(x0, x2);
        t[i][1] = hn::Add(x1, x2);
        t[i][2] = hn::Sub(x2, x1);
        t[i][3] = hn::Sub(x1, x3);
      }
      HWY_UNROLL(4)
      for (int j = 0; j < 4; ++j) {
        float* out = v + j * row.plane + c;
        hn::StoreU(hn::Sub(t[0][j], t[2][j]), d, out);
        hn::StoreU(hn::Add(t[1][j], t[2][j]), d, out + 4 * row.plane);
        hn::StoreU(hn::Sub(t[2][j], t[1][j]), d, out + 8 * row.plane);
        hn::StoreU(hn::Sub(t[1][j], t[3][j]), d, out + 12 * row.plane);
      }
    }
  }
}

void WinogradGradient(const TileRow& row, const float* corner, int64_t step, int64_t d_row,
                      float* v) {
  const D d;
  const V zero = hn::Zero(d);
  for (int64_t tile = 0; tile < row.tiles; ++tile, corner += 2 * step, v += row.channels) {
    for (int64_t c = 0; c < row.channels; c += kLanes) {
      V t[4][2];  // A d
      HWY_UNROLL(2)
      for (int j = 0; j < 2; ++j) {
        const float* p = corner + j * step + c;
        const V y0 = hn::LoadU(d, p), y1 = hn::LoadU(d, p + d_row);
        t[0][j] = y0;
        t[1][j] = hn::Add(y0, y1);
        t[2][j] = hn::Sub(y0, y1);
        t[3][j] = hn::Sub(zero, y1);
      }
      HWY_UNROLL(4)
      for (int i = 0; i < 4; ++i) {
        float* out = v + 4 * i * row.plane + c;
        hn::StoreU(t[i][0], d, out);
        hn::StoreU(hn::Add(t[i][0], t[i][1]), d, out + row.plane);
        hn::StoreU(hn::Sub(t[i][0], t[i][1]), d, out + 2 * row.plane);
        hn::StoreU(hn::Sub(zero, t[i][1]), d, out + 3 * row.plane);
      }
    }
  }
}

void WinogradOutput(const TileRow& row, const float* m, const WinogradTarget& target) {
  const D d;
  for (int64_t tile = 0; tile < row.tiles; ++tile, m += row.channels) {
    float* out = target.corner + 2 * tile * target.step;
    const float* residual =
        target.residual != nullptr ? target.residual + 2 * tile * target.residual_step : nullptr;
    for (int64_t c = 0; c < row.channels; c += kLanes) {
      V t[2][4];  // A^T m
      HWY_UNROLL(4)
      for (int j = 0; j < 4; ++j) {
        const float* p = m + j * row.plane + c;
        const V m0 = hn::LoadU(d, p), m1 = hn::LoadU(d, p + 4 * row.plane);
        const V m2 = hn::LoadU(d, p + 8 * row.plane), m3 = hn::LoadU(d, p + 12 * row.plane);
        t[0][j] = hn::Add(hn::Add(m0, m1), m2);
        t[1][j] = hn::Sub(hn::Sub(m1, m2), m3);
      }
      const V add = target.add != nullptr ? hn::LoadU(d, target.add + c) : hn::Zero(d);
      HWY_UNROLL(2)
      for (int i = 0; i < 2; ++i) {
        V y0 = hn::Add(hn::Add(hn::Add(t[i][0], t[i][1]), t[i][2]), add);
        V y1 = hn::Add(hn::Sub(hn::Sub(t[i][1], t[i][2]), t[i][3]), add);
        if (residual != nullptr) {
          const float* p = residual + i * target.residual_row + c;
          y0 = hn::Add(y0, hn::LoadU(d, p));
          y1 = hn::Add(y1, hn::LoadU(d, p + target.residual_step));
        }
        hn::StoreU(y0, d, out + i * target.row + c);
        hn::StoreU(y1, d, out + i * target.row + target.step + c);
      }
    }
  }
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
