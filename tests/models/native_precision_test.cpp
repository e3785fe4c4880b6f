// Which precisions a CPU has, from the flags that Linux lists, and what auto makes of them.
#include "models/native_precision.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/autocast.hpp"

namespace scorenet::models {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::string kHaswell = "fpu sse2 avx fma f16c avx2";
const std::string kIceLake = kHaswell + " avx512f avx512bw avx512dq avx512vl avx512_vnni";
const std::string kZen4 = kIceLake + " avx512_bf16";
const std::string kSapphireRapids = kZen4 + " avx512_fp16 amx_tile amx_bf16 amx_int8";

InstructionLimit isa(const std::string& name) { return instruction_limit("", name); }

TEST(NativePrecision, FollowsTheInstructionsThatMultiply) {
  for (const std::string& flags : {std::string(), kHaswell, kIceLake}) {
    EXPECT_FALSE(cpu_arithmetic(flags, {}).bf16) << flags;
    EXPECT_FALSE(cpu_arithmetic(flags, {}).fp16) << flags;  // f16c converts, it does not multiply
  }
  EXPECT_TRUE(cpu_arithmetic(kZen4, {}).bf16);
  EXPECT_FALSE(cpu_arithmetic(kZen4, {}).fp16);
  EXPECT_TRUE(cpu_arithmetic("avx2 amx_bf16", {}).bf16);
  EXPECT_TRUE(cpu_arithmetic(kSapphireRapids, {}).bf16);
  EXPECT_TRUE(cpu_arithmetic(kSapphireRapids, {}).fp16);
  EXPECT_FALSE(cpu_arithmetic("no_avx512_bf16 avx512_bf16x", {}).bf16);  // whole words alone
}

TEST(NativePrecision, InstructionsThatLibTorchIsToldToLeaveUnusedDoNotCount) {
  EXPECT_FALSE(cpu_arithmetic(kSapphireRapids, isa("AVX2")).bf16);
  EXPECT_FALSE(cpu_arithmetic(kSapphireRapids, isa("avx512_core")).bf16);
  EXPECT_TRUE(cpu_arithmetic(kSapphireRapids, isa("AVX512_CORE_BF16")).bf16);
  EXPECT_FALSE(cpu_arithmetic(kSapphireRapids, isa("AVX512_CORE_BF16")).fp16);
  EXPECT_TRUE(cpu_arithmetic(kSapphireRapids, isa("ALL")).fp16);
  EXPECT_FALSE(cpu_arithmetic("avx2 amx_bf16", isa("AVX512_CORE_FP16")).bf16);
  EXPECT_FALSE(cpu_arithmetic(kSapphireRapids, instruction_limit("avx2", "")).bf16);
}

TEST(NativePrecision, TheFirstProcessorsLinesAreRead) {
  const std::string text =
      "processor\t: 0\nmodel name\t: Some CPU @ 2.80GHz\nvmx flags\t: a b\nflags\t\t: fpu avx2\n\n"
      "processor\t: 1\nflags\t\t: fpu\n";
  EXPECT_EQ(cpuinfo_value(text, "flags"), "fpu avx2");
  EXPECT_EQ(cpuinfo_value(text, "model name"), "Some CPU @ 2.80GHz");
  EXPECT_EQ(cpuinfo_value(text, "bugs"), "");
  EXPECT_EQ(cpuinfo_value(":\n\n  : x\nflags\t:", "flags"), "");
}

TEST(NativePrecision, VectorUnitsAreThoseThatMultiply) {
  EXPECT_EQ(vector_units(kHaswell), "fma, avx2");
  EXPECT_EQ(vector_units(kSapphireRapids),
            "fma, avx2, avx512f, avx512_bf16, amx_bf16, avx512_fp16");
  EXPECT_EQ(vector_units("fp asimd bf16"), "asimd, bf16");
  EXPECT_EQ(vector_units("fpu sse2 avx512_bf16x"), "none");
}

TEST(NativePrecision, Bf16IsFasterByTilesAndByOthersPairs) {
  EXPECT_TRUE(bf16_is_faster(kZen4, {}, "AuthenticAMD"));
  EXPECT_FALSE(bf16_is_faster(kZen4, {}, "GenuineIntel"));  // Cooper Lake
  EXPECT_TRUE(bf16_is_faster(kSapphireRapids, {}, "GenuineIntel"));
  EXPECT_FALSE(bf16_is_faster(kSapphireRapids, isa("AVX2"), "GenuineIntel"));
  EXPECT_FALSE(bf16_is_faster(kSapphireRapids, isa("AVX512_CORE_BF16"), "GenuineIntel"));
  EXPECT_FALSE(bf16_is_faster(kIceLake, {}, "AuthenticAMD"));
}

TEST(NativePrecision, AutoIsNativeAndNativeCostsNothing) {
  const CpuArithmetic cpu = this_cpu();
  EXPECT_TRUE(auto_precision(torch::kCPU) == "fp32" || cpu.bf16);
  EXPECT_EQ(cost_of_precision("fp32", torch::kCPU), "");
  EXPECT_EQ(cost_of_precision("auto", torch::kCPU), "");
  EXPECT_EQ(cost_of_precision("bf16", torch::kCPU).empty(), cpu.bf16);
  EXPECT_EQ(cost_of_precision("fp16", torch::kCPU).empty(), cpu.fp16);
  if (!cpu.bf16) {
    EXPECT_THAT(cost_of_precision("bf16", torch::kCPU),
                AllOf(HasSubstr("slower than fp32"), HasSubstr("auto takes fp32")));
  }
}

TEST(NativePrecision, OfAnEvaluationAutoIsFloat32) {
  EXPECT_EQ(compute_dtype("auto"), torch::kFloat32);
}

}  // namespace
}  // namespace scorenet::models
