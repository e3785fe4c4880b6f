// Tests of models/cpu that run once for each instruction set that this CPU has.
#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <memory>
#include <string>

#include "models/cpu/instruction_sets.hpp"

namespace scorenet::models::cpu {

/// Lets the kernels run by one instruction set alone while alive.
class UseTarget {
 public:
  explicit UseTarget(int64_t target) { use_targets(target); }
  ~UseTarget() { use_targets(0); }
  UseTarget(const UseTarget&) = delete;
  UseTarget& operator=(const UseTarget&) = delete;
};

class EachTarget : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override {
    if ((usable_targets() & GetParam()) == 0)
      GTEST_SKIP() << "this CPU lacks the instructions, or may not use them";
    use_ = std::make_unique<UseTarget>(GetParam());
  }

 private:
  std::unique_ptr<UseTarget> use_;
};

// The static target is what every CPU of the platform has: vectors of four numbers.
inline auto each_target() {
#if HWY_ARCH_X86
  return testing::Values(HWY_STATIC_TARGET, HWY_AVX2, HWY_AVX3);
#else
  return testing::Values(HWY_STATIC_TARGET);
#endif
}

inline std::string name_of_target(const testing::TestParamInfo<int64_t>& target) {
  return hwy::TargetName(target.param);
}

}  // namespace scorenet::models::cpu
