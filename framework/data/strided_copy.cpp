#include "framework/data/strided_copy.hpp"

#include <cstring>
#include <utility>

namespace scorenet::data {
namespace {

// Values of T, `stride` bytes apart.
template <typename T>
char* copy_values(char* out, const char* in, StridedCopy::Axis axis) {
  for (int64_t i = 0; i < axis.count; ++i, in += axis.stride, out += sizeof(T))
    std::memcpy(out, in, sizeof(T));  // a size known to the compiler: one move, aligned or not
  return out;
}

char* copy_runs(char* out, const char* in, StridedCopy::Axis axis, int64_t run) {
  switch (run) {
    case 1:
      return copy_values<uint8_t>(out, in, axis);
    case 2:
      return copy_values<uint16_t>(out, in, axis);
    case 4:
      return copy_values<uint32_t>(out, in, axis);
    case 8:
      return copy_values<uint64_t>(out, in, axis);
    default:
      for (int64_t i = 0; i < axis.count; ++i, in += axis.stride, out += run)
        std::memcpy(out, in, static_cast<size_t>(run));
      return out;
  }
}

char* copy_axes(char* out, const char* in, const StridedCopy::Axis* axes, size_t left,
                int64_t run) {
  if (left == 1) return copy_runs(out, in, *axes, run);
  for (int64_t i = 0; i < axes->count; ++i)
    out = copy_axes(out, in + i * axes->stride, axes + 1, left - 1, run);
  return out;
}

}  // namespace

StridedCopy::StridedCopy(std::vector<Axis> all, int64_t element)
    : axes(std::move(all)), run(element) {
  std::erase_if(axes, [](const Axis& axis) { return axis.count == 1; });
  while (!axes.empty() && axes.back().stride == run) {
    run *= axes.back().count;
    axes.pop_back();
  }
}

int64_t StridedCopy::bytes() const {
  int64_t all = run;
  for (const Axis& axis : axes) all *= axis.count;
  return all;
}

void copy_strided(void* out, const void* in, const StridedCopy& copy) {
  if (copy.axes.empty())
    std::memcpy(out, in, static_cast<size_t>(copy.run));
  else
    copy_axes(static_cast<char*>(out), static_cast<const char*>(in), copy.axes.data(),
              copy.axes.size(), copy.run);
}

}  // namespace scorenet::data
