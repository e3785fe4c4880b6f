// Copies values that lie apart in memory to where they lie together.
#pragma once

#include <cstdint>
#include <vector>

namespace scorenet::data {

/// What is copied: along each axis, slowest first, `count` pieces `stride` bytes apart, the
/// innermost of `run` bytes each.
struct StridedCopy {
  struct Axis {
    int64_t count;
    int64_t stride;  // bytes
  };
  std::vector<Axis> axes;
  int64_t run = 0;

  /// axes: of values of `element` bytes. Those that lie together become one run.
  StridedCopy(std::vector<Axis> axes, int64_t element);
  int64_t bytes() const;
};

/// Makes no object that would have to be destroyed: copy_from_mapped leaves it by a jump.
void copy_strided(void* out, const void* in, const StridedCopy& copy);

}  // namespace scorenet::data
