// The formulas, from one number to one number, and the loop that applies them to a batch.
//
//     formula         y                        domain                 log |dy/dx|
//     log(a)          log(x + a)               x > -a                 -log(x + a)
//     logit(a)        log(u / (1 - u)),        0 < u < 1              log(1 - 2 a) - log(u (1 - u))
//                       u = a + (1 - 2 a) x
//     arcsinh(a)      asinh(x / a)             all                    -log sqrt(x^2 + a^2)
//     affine(a, b)    (x - a) / b              all, for b not 0       -log |b|
//
// standardise is affine(mean, std) and divide(NAME) is affine(0, c). Their numbers depend on the
// value's place or on the example.
#pragma once

#include <cmath>

#include "framework/transform/transform.hpp"

namespace scorenet::transform {

struct Log {
  double a;
  double forward(double x) const { return std::log(x + a); }
  double inverse(double y) const { return std::exp(y) - a; }
  double log_slope(double x) const { return -std::log(x + a); }
  bool inside(double x) const { return x + a > 0; }
};

struct Logit {
  double a;
  double u(double x) const { return a + (1 - 2 * a) * x; }
  double forward(double x) const { return std::log(u(x)) - std::log1p(-u(x)); }
  double inverse(double y) const { return (1 / (1 + std::exp(-y)) - a) / (1 - 2 * a); }
  double log_slope(double x) const {
    return std::log(1 - 2 * a) - std::log(u(x)) - std::log1p(-u(x));
  }
  bool inside(double x) const { return u(x) > 0 && u(x) < 1; }
};

struct Arcsinh {
  double a;
  double forward(double x) const { return std::asinh(x / a); }
  double inverse(double y) const { return a * std::sinh(y); }
  double log_slope(double x) const { return -std::log(std::hypot(x, a)); }
  bool inside(double x) const { return std::isfinite(x); }
};

struct Affine {
  double a, b;
  double forward(double x) const { return (x - a) / b; }
  double inverse(double y) const { return a + b * y; }
  double log_slope(double) const { return -std::log(std::abs(b)); }
  bool inside(double x) const { return std::isfinite(x) && b != 0; }
};

/// The place of a value: its example, and its index there, the last axis fastest.
struct Place {
  int64_t example = 0, value = 0;
};

/// Self::formula_at(values, dims): a callable that gives the formula of a Place.
template <typename Self>
class Elementwise : public Transform {
 public:
  torch::Tensor forward(const Values& x) const override {
    return mapped<double>(x, [](const auto& formula, double v) { return formula.forward(v); });
  }
  torch::Tensor inverse(const Values& y) const override {
    return mapped<double>(y, [](const auto& formula, double v) { return formula.inverse(v); });
  }
  torch::Tensor log_slope(const Values& x) const override {
    return mapped<double>(x, [](const auto& formula, double v) { return formula.log_slope(v); });
  }
  torch::Tensor outside(const Values& x) const override {
    return mapped<bool>(x, [](const auto& formula, double v) { return !formula.inside(v); });
  }

 private:
  friend Self;
  Elementwise() = default;  // only for Self

  template <typename T, typename F>
  torch::Tensor mapped(const Values& values, F f) const {
    torch::Tensor out = torch::empty(values.x.sizes(), c10::CppTypeToScalarType<T>::value);
    if (values.x.numel() == 0) return out;
    const int64_t examples = values.x.size(0), dims = values.x.numel() / examples;
    const double* in = values.x.const_data_ptr<double>();
    T* to = out.data_ptr<T>();
    const auto formula_at = static_cast<const Self*>(this)->formula_at(values, dims);
    for (int64_t i = 0; i < examples; ++i)
      for (int64_t k = 0; k < dims; ++k) *to++ = f(formula_at(Place{i, k}), *in++);
    return out;
  }
};

}  // namespace scorenet::transform
