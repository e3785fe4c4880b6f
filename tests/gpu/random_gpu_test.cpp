// A GPU draws the CPU's numbers. Skips, and says so, where there is no device.
#include <gtest/gtest.h>
#include <torch/cuda.h>

#include <cstdio>

#include "framework/core/device_words.hpp"
#include "framework/core/random.hpp"

namespace scorenet {
namespace {

const torch::Device kGpu(torch::kCUDA, 0);
const std::vector<int64_t> kSlots = {0, 7, 1000003, int64_t{1} << 40};
const RandomKey kKey{12345, RandomStream::training_noise, 678};

class RandomGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (torch::cuda::is_available() && draws_words_on(kGpu)) return;
    std::printf("skipped: no GPU for each rank (no CUDA device here, or a build without CUDA)\n");
    GTEST_SKIP();
  }
};

TEST_F(RandomGpu, UniformsAndSignsAreTheCpusBitForBit) {
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    for (const int64_t n : {1, 3, 4, 33, 1000}) {
      const auto uniform = uniform_for_slots(kKey, kSlots, {n}, dtype, kGpu);
      EXPECT_TRUE(uniform.is_cuda());
      EXPECT_TRUE(torch::equal(uniform.cpu(), uniform_for_slots(kKey, kSlots, {n}, dtype)));
      EXPECT_TRUE(torch::equal(rademacher_for_slots(kKey, kSlots, {n}, dtype, kGpu).cpu(),
                               rademacher_for_slots(kKey, kSlots, {n}, dtype)));
    }
  }
}

// log, cos and sin differ between the two in the last places: a few units of 2^-24 (2^-53) times
// values up to 6 (8).
TEST_F(RandomGpu, NormalsAreTheCpusUpToRounding) {
  const auto gap = [&](torch::Dtype dtype) {
    const auto here = normal_for_slots(kKey, kSlots, {3, 333}, dtype);
    return (normal_for_slots(kKey, kSlots, {3, 333}, dtype, kGpu).cpu() - here)
        .abs()
        .max()
        .item<double>();
  };
  EXPECT_LT(gap(torch::kFloat32), 1e-5);
  EXPECT_LT(gap(torch::kFloat64), 1e-13);
}

}  // namespace
}  // namespace scorenet
