#include "models/cpu/token_kernels.hpp"

#include <algorithm>
#include <cmath>

#include "models/cpu/targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "models/cpu/token_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace scorenet::models::cpu {
namespace HWY_NAMESPACE {
namespace {

#include "models/cpu/elements.inl"
#include "models/cpu/simd_math.inl"

// f(number of the token in the batch) for the tokens of a part.
template <class F>
HWY_INLINE void for_tokens(const TokenShape& shape, TokenPart at, const F& f) {
  const int64_t first = at.part * kPartTokens;
  const int64_t last = std::min(first + kPartTokens, shape.tokens);
  for (int64_t t = first; t < last; ++t) f(at.image * shape.tokens + t);
}

template <class T>
HWY_INLINE const T* row_of(const kernels::ImageRows& rows, TokenPart at) {
  return static_cast<const T*>(rows.data) + at.image * rows.stride;
}
template <class T>
HWY_INLINE const T* elements(const void* data, int64_t first) {
  return static_cast<const T*>(data) + first;
}
template <class T>
HWY_INLINE T* elements(void* data, int64_t first) {
  return static_cast<T*>(data) + first;
}

// A part's place in sums of `width` numbers a part, set to zero.
HWY_INLINE float* cleared(float* sums, const TokenShape& shape, TokenPart at, int64_t width) {
  float* const place = sums + (at.image * parts_of(shape) + at.part) * width;
  std::fill_n(place, width, 0.0f);
  return place;
}

HWY_INLINE float total(V v) { return hn::GetLane(hn::SumOfLanes(D(), v)); }

struct NormPass {
  template <class T>
  static HWY_INLINE void run(const TokenShape& shape, const TokenNorm& data, TokenPart part) {
    const D d;
    const T* const shift = row_of<T>(data.shift, part);
    const T* const scale = row_of<T>(data.scale, part);
    const float share = 1.0f / static_cast<float>(shape.channels);
    for_tokens(shape, part, [&](int64_t token) HWY_ATTR {
      const T* const x = elements<T>(data.x, token * shape.channels);
      T* const y = elements<T>(data.y, token * shape.channels);
      V sum = hn::Zero(d), squares = hn::Zero(d);
      for_channels(shape.channels,
                   [&](const auto& at) HWY_ATTR { sum = hn::Add(sum, at.from(x)); });
      const float mean = share * total(sum);
      const V centre = hn::Set(d, mean);
      for_channels(shape.channels, [&](const auto& at) HWY_ATTR {
        const V off = at.inside(hn::Sub(at.from(x), centre));
        squares = hn::MulAdd(off, off, squares);
      });
      const float rate = 1.0f / std::sqrt(share * total(squares) + data.eps);
      const V by = hn::Set(d, rate);
      for_channels(shape.channels, [&](const auto& at) HWY_ATTR {
        const V normed = hn::Mul(hn::Sub(at.from(x), centre), by);
        at.to(y, hn::Add(hn::MulAdd(normed, at.from(scale), normed), at.from(shift)));
      });
      data.statistics[2 * token] = mean;
      data.statistics[2 * token + 1] = rate;
    });
  }
};

// With g = d_y (1 + scale): d_x = rate (g - mean(g) - x_hat mean(g x_hat)) + d_beside.
struct NormBackwardPass {
  template <class T>
  static HWY_INLINE void run(const TokenShape& shape, const TokenNormBackward& data,
                             TokenPart part) {
    const D d;
    const T* const scale = row_of<T>(data.scale, part);
    float* const sums = cleared(data.sums, shape, part, 2 * shape.channels);
    float* const products = sums + shape.channels;
    const V share = hn::Set(d, 1.0f / static_cast<float>(shape.channels));
    for_tokens(shape, part, [&](int64_t token) HWY_ATTR {
      const int64_t first = token * shape.channels;
      const T* const x = elements<T>(data.x, first);
      const T* const d_y = elements<T>(data.d_y, first);
      T* const d_x = elements<T>(data.d_x, first);
      const V centre = hn::Set(d, data.statistics[2 * token]);
      const V rate = hn::Set(d, data.statistics[2 * token + 1]);
      V sum = hn::Zero(d), product = hn::Zero(d);
      for_channels(shape.channels, [&](const auto& at) HWY_ATTR {
        const V by = at.from(d_y);
        const V normed = hn::Mul(hn::Sub(at.from(x), centre), rate);
        const V g = hn::MulAdd(by, at.from(scale), by);
        sum = hn::Add(sum, g);
        product = hn::MulAdd(g, normed, product);
        add_to(sums, at, by);
        add_to(products, at, hn::Mul(by, normed));
      });
      sum = hn::Mul(share, hn::SumOfLanes(d, sum));
      product = hn::Mul(hn::Mul(share, rate), hn::SumOfLanes(d, product));
      const T* const beside =
          data.d_beside != nullptr ? elements<T>(data.d_beside, first) : nullptr;
      for_channels(shape.channels, [&](const auto& at) HWY_ATTR {
        const V by = at.from(d_y);
        const V normed = hn::Mul(hn::Sub(at.from(x), centre), rate);
        const V g = hn::Sub(hn::MulAdd(by, at.from(scale), by), sum);
        V result = hn::NegMulAdd(normed, product, hn::Mul(rate, g));
        // Rounded before it is added to, as autograd does it: recomputed blocks have these bits.
        if (beside != nullptr) result = hn::Add(as_stored<T>(result), at.from(beside));
        at.to(d_x, result);
      });
    });
  }
};

struct GatePass {
  template <class T>
  static HWY_INLINE void run(const TokenShape& shape, const TokenGate& data, TokenPart part) {
    const T* const gate = row_of<T>(data.gate, part);
    for_tokens(shape, part, [&](int64_t token) HWY_ATTR {
      const int64_t first = token * shape.channels;
      const T* const residual = elements<T>(data.residual, first);
      const T* const h = elements<T>(data.h, first);
      T* const y = elements<T>(data.y, first);
      for_channels(shape.channels, [&](const auto& at) HWY_ATTR {
        const V inner = hn::Add(at.from(h), at.from(data.bias));
        at.to(y, hn::MulAdd(at.from(gate), inner, at.from(residual)));
      });
    });
  }
};

struct GateBackwardPass {
  template <class T>
  static HWY_INLINE void run(const TokenShape& shape, const TokenGateBackward& data,
                             TokenPart part) {
    const T* const gate = row_of<T>(data.gate, part);
    float* const products = cleared(data.sums, shape, part, 2 * shape.channels);
    float* const sums = products + shape.channels;
    for_tokens(shape, part, [&](int64_t token) HWY_ATTR {
      const int64_t first = token * shape.channels;
      const T* const h = elements<T>(data.h, first);
      const T* const d_y = elements<T>(data.d_y, first);
      T* const d_h = elements<T>(data.d_h, first);
      for_channels(shape.channels, [&](const auto& at) HWY_ATTR {
        const V by = at.from(d_y);
        at.to(d_h, hn::Mul(by, at.from(gate)));
        add_to(products, at, hn::Mul(by, hn::Add(at.from(h), at.from(data.bias))));
        add_to(sums, at, by);
      });
    });
  }
};

// gelu(a) = a s with s = (1 + tanh u) / 2 = 1 / (1 + e), e = 2^t, u as in
// kernels/gelu_formulas.hpp and t = -2 u / log 2. Its slope is s + s (1 - s) w with w = 2 a u'
// and 1 - s = e s, which keeps its digits where s is almost 1.
constexpr float kTwiceRate = 2 * 0.7978845608028654f, kCubic = 0.044715f;
constexpr float kPerLog2 = -1.4426950408889634f;

struct GeluShares {
  V s, e;
};

// squared: a^2.
template <class T>
HWY_INLINE GeluShares gelu_shares(V a, V squared) {
  constexpr int kDegree = sizeof(T) == 2 ? 3 : 5;
  const D d;
  const V cubic = hn::Set(d, kTwiceRate * kPerLog2 * kCubic);
  V t = hn::Mul(a, hn::MulAdd(squared, cubic, hn::Set(d, kTwiceRate * kPerLog2)));
  t = hn::Max(hn::Set(d, -100.0f), hn::Min(hn::Set(d, 100.0f), t));  // beyond, s is 0 or 1
  const V e = power_of_two<kDegree>(d, t);
  const V below = hn::Add(e, hn::Set(d, 1.0f));
#if HWY_TARGET == HWY_AVX3
  if (sizeof(T) == 2) return {hn::ApproximateReciprocal(below), e};  // 14 bits
#endif
  return {reciprocal(d, below), e};
}

struct GeluPass {
  template <class T>
  static HWY_INLINE void run(const TokenShape& shape, const TokenGelu& data, TokenPart part) {
    for_tokens(shape, part, [&](int64_t token) HWY_ATTR {
      const T* const h = elements<T>(data.h, token * shape.channels);
      T* const y = elements<T>(data.y, token * shape.channels);
      for_channels(shape.channels, [&](const auto& at) HWY_ATTR {
        const V a = hn::Add(at.from(h), at.from(data.bias));
        at.to(y, hn::Mul(a, gelu_shares<T>(a, hn::Mul(a, a)).s));
      });
    });
  }
};

struct GeluBackwardPass {
  template <class T>
  static HWY_INLINE void run(const TokenShape& shape, const TokenGeluBackward& data,
                             TokenPart part) {
    const D d;
    const V rate = hn::Set(d, kTwiceRate), cubic = hn::Set(d, 3 * kTwiceRate * kCubic);
    float* const sums = cleared(data.sums, shape, part, shape.channels);
    for_tokens(shape, part, [&](int64_t token) HWY_ATTR {
      const int64_t first = token * shape.channels;
      const T* const h = elements<T>(data.h, first);
      const T* const d_y = elements<T>(data.d_y, first);
      T* const d_h = elements<T>(data.d_h, first);
      for_channels(shape.channels, [&](const auto& at) HWY_ATTR {
        const V a = hn::Add(at.from(h), at.from(data.bias));
        const V squared = hn::Mul(a, a);
        const auto [s, e] = gelu_shares<T>(a, squared);
        const V w = hn::Mul(a, hn::MulAdd(squared, cubic, rate));
        const V slope = hn::MulAdd(s, hn::Mul(hn::Mul(e, s), w), s);
        const V g = hn::Mul(at.from(d_y), slope);
        at.to(d_h, g);
        add_to(sums, at, g);
      });
    });
  }
};

struct JoinPass {
  template <class T>
  static HWY_INLINE void run(const TokenShape& shape, const TokenJoin& data, TokenPart part) {
    const int64_t width = shape.channels / data.heads;
    float* const sums = cleared(data.sums, shape, part, 3 * shape.channels);
    for_tokens(shape, part, [&](int64_t token) HWY_ATTR {
      T* to = elements<T>(data.out, token * 3 * shape.channels);
      float* sum = sums;
      for (int i = 0; i < 3; ++i) {
        const T* from = elements<T>(
            data.parts[i], part.image * data.image[i] + token % shape.tokens * data.token[i]);
        for (int64_t head = 0; head < data.heads; ++head) {
          for_channels(width, [&](const auto& at) HWY_ATTR {
            const V v = at.from(from);
            at.to(to, v);
            add_to(sum, at, v);
          });
          from += data.head[i];
          to += width;
          sum += width;
        }
      }
    });
  }
};

template <class Pass, class Data>
HWY_INLINE void by_element(const TokenShape& shape, const Data& data, TokenPart at) {
  if (shape.element == kernels::Element::float32) {
    Pass::template run<float>(shape, data, at);
  } else {
    Pass::template run<Bf16>(shape, data, at);
  }
}

void Norm(const TokenShape& shape, const TokenNorm& data, TokenPart at) {
  by_element<NormPass>(shape, data, at);
}
void NormBackward(const TokenShape& shape, const TokenNormBackward& data, TokenPart at) {
  by_element<NormBackwardPass>(shape, data, at);
}
void Gate(const TokenShape& shape, const TokenGate& data, TokenPart at) {
  by_element<GatePass>(shape, data, at);
}
void GateBackward(const TokenShape& shape, const TokenGateBackward& data, TokenPart at) {
  by_element<GateBackwardPass>(shape, data, at);
}
void Gelu(const TokenShape& shape, const TokenGelu& data, TokenPart at) {
  by_element<GeluPass>(shape, data, at);
}
void GeluBackward(const TokenShape& shape, const TokenGeluBackward& data, TokenPart at) {
  by_element<GeluBackwardPass>(shape, data, at);
}
void Join(const TokenShape& shape, const TokenJoin& data, TokenPart at) {
  by_element<JoinPass>(shape, data, at);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace scorenet::models::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace scorenet::models::cpu {

HWY_EXPORT(Norm);
HWY_EXPORT(NormBackward);
HWY_EXPORT(Gate);
HWY_EXPORT(GateBackward);
HWY_EXPORT(Gelu);
HWY_EXPORT(GeluBackward);
HWY_EXPORT(Join);

void token_norm(const TokenShape& shape, const TokenNorm& data, TokenPart at) {
  HWY_DYNAMIC_DISPATCH(Norm)(shape, data, at);
}
void token_norm_backward(const TokenShape& shape, const TokenNormBackward& data, TokenPart at) {
  HWY_DYNAMIC_DISPATCH(NormBackward)(shape, data, at);
}
void token_gate(const TokenShape& shape, const TokenGate& data, TokenPart at) {
  HWY_DYNAMIC_DISPATCH(Gate)(shape, data, at);
}
void token_gate_backward(const TokenShape& shape, const TokenGateBackward& data, TokenPart at) {
  HWY_DYNAMIC_DISPATCH(GateBackward)(shape, data, at);
}
void token_gelu(const TokenShape& shape, const TokenGelu& data, TokenPart at) {
  HWY_DYNAMIC_DISPATCH(Gelu)(shape, data, at);
}
void token_gelu_backward(const TokenShape& shape, const TokenGeluBackward& data, TokenPart at) {
  HWY_DYNAMIC_DISPATCH(GeluBackward)(shape, data, at);
}
void token_join(const TokenShape& shape, const TokenJoin& data, TokenPart at) {
  HWY_DYNAMIC_DISPATCH(Join)(shape, data, at);
}

}  // namespace scorenet::models::cpu
#endif
