// Compiled with AVX-512 flags of its own, see CMakeLists.txt. GCC's vector extension carries the
// arithmetic, 16 lanes wide.
#include "models/kernels/vector_kernels.hpp"

#include <cstring>

namespace scorenet::models::kernels {
namespace {

using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
using Words = uint32_t __attribute__((vector_size(64)));
using Halves = uint16_t __attribute__((vector_size(32)));

constexpr int64_t kLanes = 16;

template <class To, class From>
inline To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline Floats load(const uint16_t* p) {
  Halves h;
  std::memcpy(&h, p, sizeof h);
  return bits_as<Floats>(__builtin_convertvector(h, Words) << 16);
}
inline void store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }
inline void store(uint16_t* p, Floats v) {
  const Words bits = bits_as<Words>(v);
  const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // to nearest, ties to even
  const Halves h = __builtin_convertvector(rounded, Halves);
  std::memcpy(p, &h, sizeof h);
}

inline Floats all(float value) { return Floats{} + value; }

// exp = 2^n e^f with |f| <= log(2) / 2 and Taylor's polynomial of degree 6 for e^f: relative error
// below 2e-7. Clamped to the range of float; NaN stays NaN through the polynomial.
inline Floats exponential(Floats x) {
  x = x < -87.0f ? all(-87.0f) : x;
  x = x > 88.0f ? all(88.0f) : x;
  const float magic = 12582912.0f;  // 1.5 2^23: adding and subtracting it rounds to an integer
  const Floats n = (x * 1.44269504f + magic) - magic;
  const Floats f = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats p = f * (1.0f / 720) + (1.0f / 120);
  p = p * f + (1.0f / 24);
  p = p * f + (1.0f / 6);
  p = p * f + 0.5f;
  p = p * f + 1.0f;
  p = p * f + 1.0f;
  const Ints exponent = (__builtin_convertvector(n, Ints) + 127) << 23;
  return p * bits_as<Floats>(exponent);
}

inline Floats sigmoid(Floats z) { return 1.0f / (1.0f + exponential(-z)); }

template <class T>
inline T* pixel(View<T> v, Area area, int64_t y) {
  return v.data + ((y + 1) * (area.width + 2) + 1) * v.stride;
}

// Adds the lanes of float sums to doubles. Rows are summed in float32, images in float64.
template <int N>
inline void flush(const Floats (&sum)[N], double* total) {
  for (int v = 0; v < N; ++v) {
    for (int64_t i = 0; i < kLanes; ++i) total[v * kLanes + i] += static_cast<double>(sum[v][i]);
  }
}

// Calls f.template operator()<N>(c) for blocks of N * 16 channels that cover all of them: 64, then
// 32, then 16.
template <class F>
inline void for_channel_blocks(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + 64 <= channels; c += 64) f.template operator()<4>(c);
  for (; c + 32 <= channels; c += 32) f.template operator()<2>(c);
  for (; c + 16 <= channels; c += 16) f.template operator()<1>(c);
}

}  // namespace

template <class T>
void add_channel_sums(View<const T> x, Area area, double* sum, double* squares) {
  for_channel_blocks(x.channels, [&]<int N>(int64_t c) {
    for (int64_t y = 0; y < area.height; ++y) {
      Floats s[N] = {}, q[N] = {};
      const T* p = pixel(x, area, y) + c;
      for (int64_t i = 0; i < area.width; ++i, p += x.stride) {
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) {
          const Floats value = load(p + v * kLanes);
          s[v] += value;
          q[v] += value * value;
        }
      }
      flush<N>(s, sum + c);
      if (squares != nullptr) flush<N>(q, squares + c);
    }
  });
}

template <class T>
void scale_shift(View<const T> x, Area area, const float* scale, const float* shift, bool silu,
                 View<T> out) {
  for_channel_blocks(x.channels, [&]<int N>(int64_t c) {
    Floats s[N], b[N];
    for (int v = 0; v < N; ++v) {
      s[v] = load(scale + c + v * kLanes);
      b[v] = load(shift + c + v * kLanes);
    }
    for (int64_t y = 0; y < area.height; ++y) {
      const T* p = pixel(x, area, y) + c;
      T* o = pixel(out, area, y) + c;
      for (int64_t i = 0; i < area.width; ++i, p += x.stride, o += out.stride) {
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) {
          const Floats z = load(p + v * kLanes) * s[v] + b[v];
          store(o + v * kLanes, silu ? z * sigmoid(z) : z);
        }
      }
    }
  });
}

template <class T>
void scale_shift_gradient(View<const T> x, View<const T> d_out, Area area, const float* scale,
                          const float* shift, bool silu, float* g, double* sum_g, double* sum_gx) {
  for_channel_blocks(x.channels, [&]<int N>(int64_t c) {
    Floats s[N], b[N];
    for (int v = 0; v < N; ++v) {
      s[v] = load(scale + c + v * kLanes);
      b[v] = load(shift + c + v * kLanes);
    }
    float* o = g + c;
    for (int64_t y = 0; y < area.height; ++y) {
      Floats sg[N] = {}, sgx[N] = {};
      const T* p = pixel(x, area, y) + c;
      const T* d = pixel(d_out, area, y) + c;
      for (int64_t i = 0; i < area.width; ++i, p += x.stride, d += d_out.stride, o += x.channels) {
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) {
          const Floats value = load(p + v * kLanes);
          const Floats z = value * s[v] + b[v];
          const Floats sig = sigmoid(z);
          const Floats slope = silu ? sig * (1.0f + z * (1.0f - sig)) : all(1.0f);
          const Floats gradient = load(d + v * kLanes) * slope;
          store(o + v * kLanes, gradient);
          sg[v] += gradient;
          sgx[v] += gradient * value;
        }
      }
      flush<N>(sg, sum_g + c);
      flush<N>(sgx, sum_gx + c);
    }
  });
}

template <class T>
void combine_gradient(const float* g, View<const T> x, Area area, const float* k1, const float* k2,
                      const float* k3, View<const T> residual, View<T> dx, double* sum) {
  for_channel_blocks(x.channels, [&]<int N>(int64_t c) {
    Floats a[N], b[N], k[N];
    for (int v = 0; v < N; ++v) {
      a[v] = load(k1 + c + v * kLanes);
      b[v] = load(k2 + c + v * kLanes);
      k[v] = load(k3 + c + v * kLanes);
    }
    const float* in = g + c;
    for (int64_t y = 0; y < area.height; ++y) {
      Floats total[N] = {};
      const T* p = pixel(x, area, y) + c;
      const T* r = residual.data != nullptr ? pixel(residual, area, y) + c : nullptr;
      T* o = pixel(dx, area, y) + c;
      for (int64_t i = 0; i < area.width; ++i, p += x.stride, o += dx.stride, in += x.channels) {
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) {
          const int64_t at = v * kLanes;
          const Floats value = a[v] * load(in + at) + b[v] * load(p + at) + k[v];
          total[v] += value;
          store(o + at, r != nullptr ? value + load(r + i * residual.stride + at) : value);
        }
      }
      if (sum != nullptr) flush<N>(total, sum + c);
    }
  });
}

template <class T>
void store_pixels(const float* values, int64_t pixels, int64_t channels, const float* add,
                  const T* residual, int64_t residual_stride, T* out, int64_t out_stride) {
  for (int64_t i = 0; i < pixels; ++i) {
    const float* in = values + i * channels;
    for (int64_t c = 0; c < channels; c += kLanes) {
      Floats value = load(in + c);
      if (add != nullptr) value += load(add + c);
      if (residual != nullptr) value += load(residual + i * residual_stride + c);
      store(out + i * out_stride + c, value);
    }
  }
}

// Lane i is lane from[i] of a, or of b behind it.
[[gnu::always_inline]] inline Ints shuffled(const Ints a, const Ints b, const Ints from) {
#ifdef __clang__  // it shuffles by constants alone
  Ints out;
  for (int i = 0; i < 16; ++i) out[i] = from[i] < 16 ? a[from[i]] : b[from[i] - 16];
  return out;
#else
  return __builtin_shuffle(a, b, from);
#endif
}

template <class T>
void transpose(const T* in, int64_t in_stride, int64_t pixels, int64_t channels, T* out,
               int64_t out_stride) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    int64_t p = 0;
    for (; p + kLanes <= pixels; p += kLanes) {
      // Four rounds of pairwise exchange of halves, at distances 1, 2, 4, 8, transpose a block of
      // 16 x 16.
      Ints r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) r[i] = bits_as<Ints>(load(in + (p + i) * in_stride + c));
      const auto exchange = [&r]<int D>(const Ints low, const Ints high) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
          if (i & D) continue;
          const Ints a = r[i], b = r[i + D];
          r[i] = shuffled(a, b, low);
          r[i + D] = shuffled(a, b, high);
        }
      };
      exchange.template operator()<1>(
          Ints{0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30},
          Ints{1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31});
      exchange.template operator()<2>(
          Ints{0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29},
          Ints{2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31});
      exchange.template operator()<4>(
          Ints{0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27},
          Ints{4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31});
      exchange.template operator()<8>(
          Ints{0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23},
          Ints{8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31});
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) store(out + (c + i) * out_stride + p, bits_as<Floats>(r[i]));
    }
    for (int64_t i = c; i < c + kLanes; ++i) {
      for (int64_t q = p; q < pixels; ++q) out[i * out_stride + q] = in[q * in_stride + i];
      for (int64_t q = pixels; q < out_stride; ++q) out[i * out_stride + q] = T(0);
    }
  }
}

void pair_pixels(const uint16_t* in, int64_t in_stride, int64_t pixels, int64_t channels,
                 uint16_t* out) {
  for (int64_t p = 0; p < pixels; p += 2) {
    const bool has_second = p + 1 < pixels;
    for (int64_t c = 0; c < channels; c += kLanes) {
      Halves even, odd = {};
      std::memcpy(&even, in + p * in_stride + c, sizeof even);
      if (has_second) std::memcpy(&odd, in + (p + 1) * in_stride + c, sizeof odd);
      // Little-endian: the even pixel is the low half of each 32-bit pair.
      const Words pairs =
          __builtin_convertvector(even, Words) | (__builtin_convertvector(odd, Words) << 16);
      std::memcpy(out + p * channels + 2 * c, &pairs, sizeof pairs);
    }
  }
}

#define SCORENET_INSTANTIATE(T)                                                                   \
  template void add_channel_sums(View<const T>, Area, double*, double*);                          \
  template void scale_shift(View<const T>, Area, const float*, const float*, bool, View<T>);      \
  template void scale_shift_gradient(View<const T>, View<const T>, Area, const float*,            \
                                     const float*, bool, float*, double*, double*);               \
  template void combine_gradient(const float*, View<const T>, Area, const float*, const float*,   \
                                 const float*, View<const T>, View<T>, double*);                  \
  template void store_pixels(const float*, int64_t, int64_t, const float*, const T*, int64_t, T*, \
                             int64_t);                                                            \
  template void transpose(const T*, int64_t, int64_t, int64_t, T*, int64_t);
SCORENET_INSTANTIATE(float)
SCORENET_INSTANTIATE(uint16_t)

}  // namespace scorenet::models::kernels
