#include "models/cpu/instruction_sets.hpp"

#include <hwy/targets.h>

#include <atomic>

#include "models/instruction_limit.hpp"

namespace scorenet::models::cpu {
namespace {

// The CPU's instruction sets within the limit, of which all kernels take the best from here on.
// Highway is asked once: the question itself makes it choose among all that the CPU has.
int64_t find_targets() {
  int64_t targets = hwy::SupportedTargets();
#if HWY_ARCH_X86
  if (!instruction_limit().avx512) targets &= ~(HWY_AVX2 - 1);  // a newer set has a lower bit
#endif
  hwy::GetChosenTarget().Update(targets);
  return targets;
}

std::atomic<int64_t> targets_of_test{0};

}  // namespace

int64_t usable_targets() {
  static const int64_t found = find_targets();
  const int64_t asked = targets_of_test.load(std::memory_order_relaxed);
  return asked != 0 ? asked : found;
}

void use_targets(int64_t targets) {
  targets_of_test = 0;
  const int64_t found = usable_targets();
  targets_of_test = targets != 0 ? targets : found;
  hwy::GetChosenTarget().Update(targets_of_test);
}

bool has_fast_target() {
  return instruction_limit().avx2 && (usable_targets() & (HWY_AVX2 | HWY_AVX3 | HWY_NEON)) != 0;
}

const char* fast_target_name() {
  const int64_t targets = usable_targets();
  return (targets & HWY_AVX3) != 0 ? "AVX-512" : (targets & HWY_AVX2) != 0 ? "AVX2" : "NEON";
}

}  // namespace scorenet::models::cpu
