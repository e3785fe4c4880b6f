// Rows of float32 or bfloat16, a vector of channels at a time, and what is left of a row. Included
// inside HWY_NAMESPACE, once for each instruction set.

#include "models/cpu/vector.inl"

using Bits = hn::RebindToUnsigned<D>;
using Halves = hn::Rebind<Bf16, D>;

HWY_INLINE V load(const float* from) { return hn::LoadU(D(), from); }
HWY_INLINE V load(const Bf16* from) {
  const auto bits = hn::PromoteTo(Bits(), hn::LoadU(Halves(), from));
  return hn::BitCast(D(), hn::ShiftLeft<16>(bits));
}

HWY_INLINE void store(V v, float* to) { hn::StoreU(v, D(), to); }
// The upper half is v to the nearest bfloat16, ties to even.
HWY_INLINE hn::Vec<Bits> rounding(V v) {
  const Bits d;
  const auto bits = hn::BitCast(d, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(d, 0x7fff)));
  // A NaN's bits could be rounded to those of a number.
  return hn::IfThenElse(hn::RebindMask(d, hn::Ne(v, v)), hn::Set(d, 0x7fc00000u), rounded);
}
HWY_INLINE void store(V v, Bf16* to) {
  hn::StoreU(hn::TruncateTo(Halves(), hn::ShiftRight<16>(rounding(v))), Halves(), to);
}

// v as it is read again after it was stored.
template <class T>
HWY_INLINE V as_stored(V v) {
  if (sizeof(T) == sizeof(float)) return v;
  return hn::BitCast(D(), hn::And(rounding(v), hn::Set(Bits(), 0xffff0000u)));
}

// A vector's channels of a row.
struct Whole {
  int64_t c;
  template <class T>
  HWY_INLINE V from(const T* row) const {
    return load(row + c);
  }
  template <class T>
  HWY_INLINE void to(T* row, V v) const {
    store(v, row + c);
  }
  HWY_INLINE V inside(V v) const { return v; }
};

// The last `count` channels, fewer than a vector has; zero behind them.
struct Rest {
  int64_t c, count;
  template <class T>
  HWY_INLINE V from(const T* row) const {
    T numbers[kLanes] = {};
    for (int64_t i = 0; i < count; ++i) numbers[i] = row[c + i];
    return load(numbers);
  }
  template <class T>
  HWY_INLINE void to(T* row, V v) const {
    T numbers[kLanes];
    store(v, numbers);
    for (int64_t i = 0; i < count; ++i) row[c + i] = numbers[i];
  }
  HWY_INLINE V inside(V v) const {
    return hn::IfThenElseZero(hn::FirstN(D(), static_cast<size_t>(count)), v);
  }
};

// f(a vector's channels) for a whole row.
template <class F>
HWY_INLINE void for_channels(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) f(Whole{c});
  if (c < channels) f(Rest{c, channels - c});
}

// sums += v, channel by channel.
template <class At>
HWY_INLINE void add_to(float* sums, const At& at, V v) {
  at.to(sums, hn::Add(at.from(sums), v));
}
