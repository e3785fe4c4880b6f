#include "models/cpu/norm.hpp"

#include <algorithm>

#include "models/cpu/targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "models/cpu/norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace scorenet::models::cpu {
namespace HWY_NAMESPACE {
namespace {

#include "models/cpu/simd_math.inl"

// As many vectors of channels at once as registers hold the factors and sums of.
#if HWY_TARGET == HWY_AVX3 || HWY_ARCH_ARM_A64
constexpr int kAtOnce = 4;
#else
constexpr int kAtOnce = 2;
#endif

// f.pass<n>(first channel) for all channels, n vectors at a time.
template <class Pass>
HWY_INLINE void for_channels(int64_t channels, const Pass& f) {
  int64_t c = 0;
  for (; c + kAtOnce * kLanes <= channels; c += kAtOnce * kLanes) f.template pass<kAtOnce>(c);
  if (kAtOnce > 2 && c + 2 * kLanes <= channels) {
    f.template pass<2>(c);
    c += 2 * kLanes;
  }
  for (; c < channels; c += kLanes) f.template pass<1>(c);
}

template <int kN>
HWY_INLINE void load(V (&v)[kN], const float* from) {
  HWY_UNROLL(4)
  for (int i = 0; i < kN; ++i) v[i] = hn::LoadU(D(), from + i * kLanes);
}

template <int kN>
HWY_INLINE void add_to(double* sum, const V (&row)[kN]) {
  float numbers[kN * kLanes];
  HWY_UNROLL(4)
  for (int i = 0; i < kN; ++i) hn::StoreU(row[i], D(), numbers + i * kLanes);
  for (int i = 0; i < kN * kLanes; ++i) sum[i] += static_cast<double>(numbers[i]);
}

struct ChannelSumsPass {
  const View& x;
  double* sum;
  double* squares;

  template <int kN>
  HWY_INLINE void pass(int64_t c) const {
    std::fill_n(sum + c, kN * kLanes, 0.0);
    if (squares != nullptr) std::fill_n(squares + c, kN * kLanes, 0.0);
    for (int64_t y = 0; y < x.area.height; ++y) {
      const float* p = x.pixel + y * x.row + c;
      V s[kN], q[kN];
      HWY_UNROLL(4)
      for (int i = 0; i < kN; ++i) s[i] = q[i] = hn::Zero(D());
      for (int64_t i = 0; i < x.area.width; ++i, p += x.step) {
        V a[kN];
        load(a, p);
        HWY_UNROLL(4)
        for (int j = 0; j < kN; ++j) {
          s[j] = hn::Add(s[j], a[j]);
          q[j] = hn::MulAdd(a[j], a[j], q[j]);
        }
      }
      add_to(sum + c, s);
      if (squares != nullptr) add_to(squares + c, q);
    }
  }
};

template <bool kSilu>
struct ScalePass {
  const View& x;
  const float* scale;
  const float* shift;
  const View& y;

  template <int kN>
  HWY_INLINE void pass(int64_t c) const {
    const D d;
    V k[kN], b[kN];
    load(k, scale + c);
    load(b, shift + c);
    for (int64_t row = 0; row < x.area.height; ++row) {
      const float* p = x.pixel + row * x.row + c;
      float* out = y.pixel + row * y.row + c;
      for (int64_t i = 0; i < x.area.width; ++i, p += x.step, out += y.step) {
        HWY_UNROLL(4)
        for (int j = 0; j < kN; ++j) {
          V z = hn::MulAdd(hn::LoadU(d, p + j * kLanes), k[j], b[j]);
          if (kSilu) z = hn::Mul(z, sigmoid(d, z));
          hn::StoreU(z, d, out + j * kLanes);
        }
      }
    }
  }
};

template <bool kSilu>
struct UnscalePass {
  const View& x;
  const float* scale;
  const float* shift;
  const View& d_y;
  double* sum;
  double* sum_x;

  template <int kN>
  HWY_INLINE void pass(int64_t c) const {
    const D d;
    const V one = hn::Set(d, 1.0f);
    V k[kN], b[kN];
    load(k, scale + c);
    load(b, shift + c);
    std::fill_n(sum + c, kN * kLanes, 0.0);
    std::fill_n(sum_x + c, kN * kLanes, 0.0);
    for (int64_t row = 0; row < x.area.height; ++row) {
      const float* p = x.pixel + row * x.row + c;
      float* grad = d_y.pixel + row * d_y.row + c;
      V s[kN], q[kN];
      HWY_UNROLL(4)
      for (int j = 0; j < kN; ++j) s[j] = q[j] = hn::Zero(d);
      for (int64_t i = 0; i < x.area.width; ++i, p += x.step, grad += d_y.step) {
        HWY_UNROLL(4)
        for (int j = 0; j < kN; ++j) {
          const V value = hn::LoadU(d, p + j * kLanes);
          V g = hn::LoadU(d, grad + j * kLanes);
          if (kSilu) {
            const V z = hn::MulAdd(value, k[j], b[j]);
            const V sig = sigmoid(d, z);
            g = hn::Mul(hn::Mul(g, sig), hn::MulAdd(z, hn::Sub(one, sig), one));
            hn::StoreU(g, d, grad + j * kLanes);
          }
          s[j] = hn::Add(s[j], g);
          q[j] = hn::MulAdd(g, value, q[j]);
        }
      }
      add_to(sum + c, s);
      add_to(sum_x + c, q);
    }
  }
};

struct CombinePass {
  const View& g;
  const View& x;
  const Combination& factors;
  const View& d_x;
  float* channels;

  template <int kN>
  HWY_INLINE void pass(int64_t c) const {
    const D d;
    V k1[kN], k2[kN], k3[kN], total[kN];
    load(k1, factors.k1 + c);
    load(k2, factors.k2 + c);
    load(k3, factors.k3 + c);
    double sum[kN * kLanes] = {};
    for (int64_t row = 0; row < x.area.height; ++row) {
      const float* pg = g.pixel + row * g.row + c;
      const float* px = x.pixel + row * x.row + c;
      const float* more[2];
      int64_t step[2];
      for (int m = 0; m < 2; ++m) {
        const View* v = factors.more[m];
        more[m] = v != nullptr ? v->pixel + row * v->row + c : nullptr;
        step[m] = v != nullptr ? v->step : 0;
      }
      float* out = d_x.pixel + row * d_x.row + c;
      HWY_UNROLL(4)
      for (int j = 0; j < kN; ++j) total[j] = hn::Zero(d);
      for (int64_t i = 0; i < x.area.width; ++i) {
        HWY_UNROLL(4)
        for (int j = 0; j < kN; ++j) {
          V r = hn::MulAdd(k2[j], hn::LoadU(d, px + j * kLanes), k3[j]);
          r = hn::MulAdd(k1[j], hn::LoadU(d, pg + j * kLanes), r);
          total[j] = hn::Add(total[j], r);
          if (more[0] != nullptr) r = hn::Add(r, hn::LoadU(d, more[0] + j * kLanes));
          if (more[1] != nullptr) r = hn::Add(r, hn::LoadU(d, more[1] + j * kLanes));
          hn::StoreU(r, d, out + j * kLanes);
        }
        pg += g.step;
        px += x.step;
        out += d_x.step;
        for (int m = 0; m < 2; ++m) more[m] += step[m];
      }
      add_to(sum, total);
    }
    if (channels != nullptr) {
      for (int i = 0; i < kN * kLanes; ++i) channels[c + i] = static_cast<float>(sum[i]);
    }
  }
};

void ChannelSums(const View& x, double* sum, double* squares) {
  for_channels(x.channels, ChannelSumsPass{x, sum, squares});
}

void ScaleAndShift(const View& x, const float* scale, const float* shift, bool silu,
                   const View& y) {
  if (silu) {
    for_channels(x.channels, ScalePass<true>{x, scale, shift, y});
  } else {
    for_channels(x.channels, ScalePass<false>{x, scale, shift, y});
  }
}

void Unscale(const View& x, const float* scale, const float* shift, bool silu, const View& d_y,
             double* sum, double* sum_x) {
  if (silu) {
    for_channels(x.channels, UnscalePass<true>{x, scale, shift, d_y, sum, sum_x});
  } else {
    for_channels(x.channels, UnscalePass<false>{x, scale, shift, d_y, sum, sum_x});
  }
}

void Combine(const View& g, const View& x, const Combination& factors, const View& d_x,
             float* channels) {
  for_channels(x.channels, CombinePass{g, x, factors, d_x, channels});
}

void Drop(const View& x, const uint8_t* keep, float factor) {
  const D d;
  const hn::RebindToSigned<D> integers;
  const hn::Rebind<uint8_t, D> bytes;
  const V scale = hn::Set(d, factor);
  for (int64_t row = 0; row < x.area.height; ++row) {
    float* p = x.pixel + row * x.row;
    for (int64_t i = 0; i < x.area.width; ++i, p += x.step, keep += x.channels) {
      for (int64_t c = 0; c < x.channels; c += kLanes) {
        const V one = hn::ConvertTo(d, hn::PromoteTo(integers, hn::LoadU(bytes, keep + c)));
        hn::StoreU(hn::Mul(hn::LoadU(d, p + c), hn::Mul(one, scale)), d, p + c);
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

HWY_EXPORT(ChannelSums);
HWY_EXPORT(ScaleAndShift);
HWY_EXPORT(Unscale);
HWY_EXPORT(Combine);
HWY_EXPORT(Drop);

void channel_sums(const View& x, double* sum, double* squares) {
  HWY_DYNAMIC_DISPATCH(ChannelSums)(x, sum, squares);
}

void scale_and_shift(const View& x, const float* scale, const float* shift, bool silu,
                     const View& y) {
  HWY_DYNAMIC_DISPATCH(ScaleAndShift)(x, scale, shift, silu, y);
}

void unscale(const View& x, const float* scale, const float* shift, bool silu, const View& d_y,
             double* sum, double* sum_x) {
  HWY_DYNAMIC_DISPATCH(Unscale)(x, scale, shift, silu, d_y, sum, sum_x);
}

void combine(const View& g, const View& x, const Combination& factors, const View& d_x,
             float* channels) {
  HWY_DYNAMIC_DISPATCH(Combine)(g, x, factors, d_x, channels);
}

void drop(const View& x, const uint8_t* keep, float factor) {
  HWY_DYNAMIC_DISPATCH(Drop)(x, keep, factor);
}

}  // namespace scorenet::models::cpu
#endif
