// The limit of instruction sets, and that LibTorch, the executor and the choice of a precision keep
// to it. Run once for each value of the variables (CMakeLists.txt).
#include "models/instruction_limit.hpp"

#include <ATen/Version.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "models/autocast.hpp"
#include "models/cpu/bf16_kernels.hpp"
#include "models/cpu/executor.hpp"
#include "models/kernels/fast_path.hpp"
#include "models/make_model.hpp"
#include "models/native_precision.hpp"
#include "tests/models/cpu/each_target.hpp"

namespace scorenet::models {
namespace {

using testing::HasSubstr;

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

TEST(InstructionLimit, VectorsFollowLibTorchsVariable) {
  for (const std::string none : {"", "avx512", "AVX2", "sve256", "nonsense"}) {
    EXPECT_TRUE(instruction_limit(none, "").avx512) << none;
    EXPECT_TRUE(instruction_limit(none, "").amx) << none;
  }
  const InstructionLimit avx2 = instruction_limit("avx2", "");
  EXPECT_TRUE(avx2.avx2);
  EXPECT_FALSE(avx2.avx512 || avx2.bf16 || avx2.fp16 || avx2.amx);
  EXPECT_FALSE(instruction_limit("default", "").avx2);
  EXPECT_FALSE(instruction_limit("default", "").bf16);
}

TEST(InstructionLimit, ProductsFollowOneDnnsVariable) {
  for (const std::string isa : {"SSE41", "avx2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}) {
    const InstructionLimit limit = instruction_limit("", isa);
    EXPECT_TRUE(limit.avx512) << isa;  // of vectors it says nothing
    EXPECT_FALSE(limit.bf16 || limit.fp16 || limit.amx) << isa;
  }
  const InstructionLimit pairs = instruction_limit("", "AVX512_CORE_BF16");
  EXPECT_TRUE(pairs.bf16);
  EXPECT_FALSE(pairs.fp16 || pairs.amx);
  EXPECT_TRUE(instruction_limit("", "AVX512_CORE_FP16").fp16);
  EXPECT_FALSE(instruction_limit("", "AVX512_CORE_FP16").amx);
  for (const std::string isa : {"AVX512_CORE_AMX", "ALL", "DEFAULT", ""})
    EXPECT_TRUE(instruction_limit("", isa).amx) << isa;
}

TEST(InstructionLimit, IsLibTorchsOwn) {
#if HWY_ARCH_X86
  const std::string capability = at::get_cpu_capability();
  EXPECT_FALSE(capability == "AVX512" && !instruction_limit().avx512);
  EXPECT_FALSE(capability == "AVX2" && !instruction_limit().avx2);
  const std::string asked = variable("ATEN_CPU_CAPABILITY");
  EXPECT_EQ(asked == "avx2" ? "AVX2" : capability, capability);
#endif
}

TEST(InstructionLimit, IsNamedBehindWhatItTakesAway) {
  const std::string within = within_instruction_limit();
  for (const char* name : {"ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"}) {
    const std::string value = variable(name);
    EXPECT_EQ(within.find(name) != std::string::npos, !value.empty()) << name;
    if (!value.empty()) {
      EXPECT_THAT(within, HasSubstr(name + ("=" + value)));
    }
  }
  if (!instruction_limit().bf16) {
    EXPECT_EQ(auto_precision(torch::kCPU), "fp32");
    EXPECT_THAT(cost_of_precision("bf16", torch::kCPU), HasSubstr(within));
  }
}

TEST(InstructionLimit, NoKernelLiesAboveIt) {
  const InstructionLimit& limit = instruction_limit();
  if (!limit.avx2) {
    EXPECT_FALSE(cpu::executor_available(torch::kFloat32));
  }
  if (!limit.avx512) {
    EXPECT_NE(cpu::executor_unit(torch::kFloat32), "AVX-512");
    EXPECT_FALSE(kernels::fast_path_available(torch::kFloat32));
  }
  if (!limit.bf16) {
    EXPECT_EQ(cpu::bf16_unit(), cpu::Bf16Unit::none);
    EXPECT_FALSE(cpu::executor_available(torch::kBFloat16));
    EXPECT_FALSE(kernels::fast_path_available(torch::kBFloat16));
  }
  if (!limit.amx) {
    EXPECT_NE(cpu::bf16_unit(), cpu::Bf16Unit::tiles);
  }
}

#if HWY_ARCH_X86
torch::Tensor image_of_network() {
  torch::manual_seed(1);  // of the first weights
  ModelOptions options;
  options.unet.channels = {16, 32};
  options.unet.attention = {false, true};
  options.unet.norm_groups = 8;
  const auto network = make_model(options, {2, 8, 8});
  const torch::NoGradGuard no_grad;
  uint64_t step = 0;
  for (auto& p : network->parameters()) {
    p += 0.1 * normal_for_slots({8, RandomStream::synthetic_data, step++}, {0}, p.sizes(),
                                torch::kFloat32)[0];
  }
  NetworkInput input;
  input.x =
      normal_for_slots({8, RandomStream::synthetic_data, 99}, {0, 1}, {2, 8, 8}, torch::kFloat32);
  input.log_snr = torch::linspace(-4, 7, 2);
  return network->forward(input);
}

torch::Tensor image_by(int64_t target) {
  const cpu::UseTarget use(target);
  return image_of_network();
}

// Instruction sets differ in rounding, so the bits tell which one computed.
TEST(InstructionLimit, TheExecutorComputesWithinIt) {
  if (instruction_limit().avx512 || !cpu::executor_available(torch::kFloat32))
    GTEST_SKIP() << "no limit at AVX2, or a CPU without";
  const torch::Tensor within = image_of_network();
  EXPECT_TRUE(torch::equal(within, image_of_network()));
  EXPECT_TRUE(torch::equal(within, image_by(HWY_AVX2)));
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
    EXPECT_FALSE(torch::equal(within, image_by(HWY_AVX3)));
  }
}
#endif

}  // namespace
}  // namespace scorenet::models
