// The transformer's kernels against ATen in float64, and a DiT that is made of them against one
// that is made of ATen's operations. Skips, and says so, where there is no device.
#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>

#include <cstdio>

#include "models/kernels/tokens.hpp"
#include "tests/models/token_checks.hpp"

namespace scorenet::models {
namespace {

using namespace scorenet::test;

const torch::Device kGpu(torch::kCUDA, 0);

double tolerance(torch::Dtype dtype) {
  return dtype == torch::kBFloat16 ? 8e-3 : dtype == torch::kFloat16 ? 2e-3 : 1e-5;
}

const TokenRoute kRoute{
    .device = kGpu,
    .dtypes = {torch::kFloat32, torch::kBFloat16, torch::kFloat16},
    .shapes = {{3, 1, 64}, {2, 5, 8}, {2, 256, 384}, {1, 1024, 192}, {5, 64, 768}, {2, 17, 1000}},
    .channels = 96,
    .tolerance = tolerance,
    .gate_bias_tolerance = [](torch::Dtype) { return 1e-4; },
    .gelu_bias_tolerance = [](torch::Dtype) { return 1e-5; },
    .float_tolerance = 1e-5,
    .second_tolerance = 5e-5};

class TokensGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (torch::cuda::is_available() && kernels::has_token_route(torch::empty({1, 4, 64}, kGpu))) {
      torch::manual_seed(1);
      at::globalContext().setAllowTF32CuDNN(false);
      return;
    }
    std::printf("skipped: no GPU for each rank (no CUDA device here, or a build without nvcc)\n");
    GTEST_SKIP();
  }
};

TEST_F(TokensGpu, TheNormAndItsGradientsAreAtens) { check_norm(kRoute); }
TEST_F(TokensGpu, TheGatedSumAndItsGradientsAreAtens) { check_gated_sum(kRoute); }
TEST_F(TokensGpu, GeluBehindItsBiasAndItsGradientsAreAtens) { check_gelu(kRoute); }
TEST_F(TokensGpu, QueriesKeysAndValuesGoApartAndTheirGradientsTogether) { check_heads(kRoute); }
TEST_F(TokensGpu, PartsOfLongerRowsModulate) { check_parts_of_rows(kRoute); }
TEST_F(TokensGpu, SecondDerivativesAreAtens) { check_second_derivatives(kRoute); }

// ---- The transformer.

const TransformerCase kTransformer{.dit = {.depth = 3}, .shape = {3, 16, 16}, .device = kGpu};

TEST_F(TokensGpu, TheNetworkAndItsGradientsAreThoseOfAten) {
  for (const auto compute : {torch::kFloat32, torch::kBFloat16}) {
    const auto [own, aten] = distances_of(kTransformer, compute);
    std::printf("%s, greatest distance: %g, ATen's %g\n", c10::toString(compute), own, aten);
    EXPECT_LT(own, std::max(compute == torch::kFloat32 ? 1e-4 : 0.03, 2 * aten));
  }
}

TEST_F(TokensGpu, RecomputedItHasTheSameBits) { check_recomputed(kTransformer, torch::kBFloat16); }

}  // namespace
}  // namespace scorenet::models
