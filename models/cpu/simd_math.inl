// Functions of vectors that several kernels share. Included inside HWY_NAMESPACE, once for each
// instruction set.

#include "models/cpu/vector.inl"

// exp(x) to some 1e-7 of itself, for x at most 88; below -87 the least normal number. NaN stays
// NaN.
template <class D, class V>
HWY_INLINE V exponential(D d, V x) {
  const hn::RebindToSigned<D> integers;
  // x = n log 2 + r with |r| <= log(2) / 2, log 2 in two parts (Cody and Waite).
  const V clamped = hn::IfThenElse(hn::Lt(x, hn::Set(d, -87.0f)), hn::Set(d, -87.0f), x);
  const V n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504f)));
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), clamped);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  V p = hn::Set(d, 1.9875691500e-4f);  // Cephes' expf
  p = hn::MulAdd(p, r, hn::Set(d, 1.3981999507e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
  p = hn::MulAdd(p, hn::Mul(r, r), hn::Add(r, hn::Set(d, 1.0f)));
  const auto biased = hn::Add(hn::ConvertTo(integers, n), hn::Set(integers, 127));
  const auto exponent = hn::ShiftLeft<23>(biased);
  return hn::Mul(p, hn::BitCast(d, exponent));
}

// 2^t to 7.5e-8 of itself (degree 5) or 7.5e-5 (degree 3: enough for what becomes a bfloat16), for
// |t| at most 125. NaN stays NaN. t = n + f, |f| <= 1/2; the polynomials of f are minimax in the
// relative error.
template <int kDegree, class D, class V>
HWY_INLINE V power_of_two(D d, V t) {
  static_assert(kDegree == 3 || kDegree == 5);
  const hn::RebindToUnsigned<D> bits;
  // Beside 1.5 2^23 a float holds whole numbers alone: its last bits are n + 127, an exponent.
  const V shift = hn::Set(d, 12582912.0f + 127.0f);
  const V shifted = hn::Add(t, shift);
  const V f = hn::Sub(t, hn::Sub(shifted, shift));
  V p;
  if (kDegree == 3) {
    p = hn::MulAdd(hn::Set(d, 5.5171669e-2f), f, hn::Set(d, 2.4261112e-1f));
    p = hn::MulAdd(p, f, hn::Set(d, 6.9326099e-1f));
    p = hn::MulAdd(p, f, hn::Set(d, 9.9992807e-1f));
  } else {
    p = hn::MulAdd(hn::Set(d, 1.3276472e-3f), f, hn::Set(d, 9.6755413e-3f));
    p = hn::MulAdd(p, f, hn::Set(d, 5.5507133e-2f));
    p = hn::MulAdd(p, f, hn::Set(d, 2.4022120e-1f));
    p = hn::MulAdd(p, f, hn::Set(d, 6.9314697e-1f));
    p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  }
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(bits, shifted))));
}

// 1 / x by the processor's estimate and Newton's steps: shorter than a division.
template <class D, class V>
HWY_INLINE V reciprocal(D d, V x) {
  const V two = hn::Set(d, 2.0f);
  V r = hn::ApproximateReciprocal(x);
#if HWY_TARGET != HWY_AVX3
  r = hn::Mul(r, hn::NegMulAdd(x, r, two));  // the estimate has 8 to 12 bits; AVX-512's has 14
#endif
  return hn::Mul(r, hn::NegMulAdd(x, r, two));
}

template <class D, class V>
HWY_INLINE V sigmoid(D d, V z) {
  const V x = hn::Neg(z);
  const V most = hn::Set(d, 80.0f);  // beyond, 1 + exp overflows the estimate; NaN passes
  const V e = exponential(d, hn::IfThenElse(hn::Gt(x, most), most, x));
  return reciprocal(d, hn::Add(e, hn::Set(d, 1.0f)));
}
