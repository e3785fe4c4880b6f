#include "framework/comm/host_reduce.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "framework/core/error.hpp"

namespace scorenet::comm {
namespace {

struct BFloat16 {
  uint16_t bits;
};

template <typename T>
struct Arithmetic {
  using Wide = T;
  static Wide widen(T value) { return value; }
  static T narrow(Wide value) { return value; }
};

template <>
struct Arithmetic<_Float16> {
  using Wide = float;
  static float widen(_Float16 value) { return float(value); }
  static _Float16 narrow(float value) { return _Float16(value); }
};

template <>
struct Arithmetic<BFloat16> {
  using Wide = float;
  static float widen(BFloat16 value) { return float_from_bfloat16(value.bits); }
  static BFloat16 narrow(float value) { return {bfloat16_from_float(value)}; }
};

template <typename T, typename Op>
void reduce_as(const void* in, void* inout, int64_t count, Op op) {
  using A = Arithmetic<T>;
  const T* a = static_cast<const T*>(in);
  T* b = static_cast<T*>(inout);
  for (int64_t i = 0; i < count; ++i) b[i] = A::narrow(op(A::widen(a[i]), A::widen(b[i])));
}

template <typename T>
void reduce_type(const void* in, void* inout, int64_t count, ReduceOp op) {
  using Wide = typename Arithmetic<T>::Wide;
  switch (op) {
    case ReduceOp::sum:
      return reduce_as<T>(in, inout, count, [](Wide a, Wide b) { return Wide(a + b); });
    case ReduceOp::max:
      return reduce_as<T>(in, inout, count, [](Wide a, Wide b) { return std::max(a, b); });
    case ReduceOp::min:
      return reduce_as<T>(in, inout, count, [](Wide a, Wide b) { return std::min(a, b); });
  }
}

}  // namespace

float float_from_bfloat16(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

uint16_t bfloat16_from_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return uint16_t((bits >> 16) | 0x40);  // stays quiet and not infinite
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);  // ties to even
}

void reduce_into(const void* in, void* inout, int64_t count, DataType type, ReduceOp op) {
  switch (type) {
    case DataType::uint8:
      return reduce_type<uint8_t>(in, inout, count, op);
    case DataType::int32:
      return reduce_type<int32_t>(in, inout, count, op);
    case DataType::int64:
      return reduce_type<int64_t>(in, inout, count, op);
    case DataType::float16:
      return reduce_type<_Float16>(in, inout, count, op);
    case DataType::bfloat16:
      return reduce_type<BFloat16>(in, inout, count, op);
    case DataType::float32:
      return reduce_type<float>(in, inout, count, op);
    case DataType::float64:
      return reduce_type<double>(in, inout, count, op);
  }
  throw CommError("reduce_into: unknown data type " + std::to_string(int(type)) + ".");
}

}  // namespace scorenet::comm
