// GELU by tanh (Hendrycks & Gimpel 2016, 1606.08415) and its slope, written once for the CUDA
// kernels and for the test that compares them with autograd in float64.
//
//     gelu(a) = a / 2 (1 + tanh u),  u = sqrt(2 / pi) (a + 0.044715 a^3)
#pragma once

#include <cmath>

#include "models/kernels/norm_formulas.hpp"

namespace scorenet::models::kernels {

template <class Real>
struct Gelu {
  Real value, slope;
};

template <class Real>
SCORENET_BOTH_SIDES Gelu<Real> gelu_of(Real a) {
  constexpr Real kRate = Real(0.7978845608028654), kCubic = Real(0.044715);
  const Real square = a * a;
  const Real t = std::tanh(kRate * a * (Real(1) + kCubic * square));
  const Real half = (Real(1) + t) / 2;
  const Real d_u = kRate * (Real(1) + 3 * kCubic * square);
  return {a * half, half + a / 2 * (Real(1) - t * t) * d_u};
}

}  // namespace scorenet::models::kernels
