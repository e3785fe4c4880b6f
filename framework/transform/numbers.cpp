#include "framework/transform/numbers.hpp"

#include <algorithm>

namespace scorenet::transform {
namespace {

template <typename To, typename From>
void copy(const torch::Tensor& from, torch::Tensor& to) {
  const From* const begin = from.const_data_ptr<From>();
  std::transform(begin, begin + from.numel(), to.data_ptr<To>(),
                 [](From value) { return static_cast<To>(value); });
}

template <typename To>
torch::Tensor converted(const torch::Tensor& x) {
  constexpr torch::Dtype type = c10::CppTypeToScalarType<To>::value;
  const torch::Tensor from = x.to(torch::kCPU).contiguous();
  if (from.scalar_type() == type) return from;
  torch::Tensor to = torch::empty(from.sizes(), type);
  switch (from.scalar_type()) {
    case torch::kUInt8:
      return copy<To, uint8_t>(from, to), to;
    case torch::kFloat32:
      return copy<To, float>(from, to), to;
    case torch::kFloat64:
      return copy<To, double>(from, to), to;
    default:
      return from.to(type);
  }
}

}  // namespace

torch::Tensor as_float64(const torch::Tensor& x) { return converted<double>(x); }
torch::Tensor as_float32(const torch::Tensor& x) { return converted<float>(x); }

}  // namespace scorenet::transform
