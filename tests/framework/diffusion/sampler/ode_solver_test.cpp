// y' = y, y' = lambda y and blow-ups, whose solutions are known.
#include "framework/diffusion/ode_solver.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>

#include "framework/core/error.hpp"

namespace scorenet::diffusion {
namespace {

using ::testing::HasSubstr;

const auto kF64 = torch::kFloat64;

// Row i grows at rate i.
const OdeRhs kRates = [](const torch::Tensor& rows, const torch::Tensor&, const torch::Tensor& y) {
  return rows.to(kF64).unsqueeze(1) * y;
};

TEST(DormandPrince, SolvesEveryRowToItsToleranceInEitherDirection) {
  for (const double end : {1.0, -1.0}) {
    const auto solution = dormand_prince(kRates, 0, end, torch::ones({4, 3}, kF64), {1e-10, 1e-10});
    for (int64_t row = 0; row < 4; ++row) {
      // y = exp(row t); local errors of 1e-10 a step add up to about that times the number
      // of steps (tens).
      const double expected = std::exp(static_cast<double>(row) * end);
      EXPECT_NEAR(solution.y[row][1].item<double>(), expected, 1e-8 * expected);
    }
    EXPECT_FALSE(solution.failed.any().item<bool>());
  }
}

TEST(DormandPrince, ErrorFollowsTheTolerance) {
  const auto error = [](double tolerance) {
    const auto y =
        dormand_prince(kRates, 0, 2, torch::ones({4, 1}, kF64), {tolerance, tolerance}).y;
    return std::abs(y[3].item<double>() / std::exp(6.0) - 1);
  };
  EXPECT_LT(error(1e-5), 1e-3);
  EXPECT_LT(error(1e-9), 1e-7);
  EXPECT_LT(error(1e-9), error(1e-5) / 100);
}

TEST(DormandPrince, ARowDoesNotDependOnItsNeighbours) {
  // The rhs knows rows by index, so row 3 alone is asked for by a rhs that shifts the index.
  const OdeRhs only_row_3 = [](const torch::Tensor& rows, const torch::Tensor& t,
                               const torch::Tensor& y) { return kRates(rows + 3, t, y); };
  const auto start = torch::ones({4, 2}, kF64);
  const auto together = dormand_prince(kRates, 0, 1, start, {});
  const auto alone = dormand_prince(only_row_3, 0, 1, start.slice(0, 3), {});
  EXPECT_TRUE(torch::equal(together.y[3], alone.y[0]));
  EXPECT_TRUE(torch::equal(together.evaluations[3], alone.evaluations[0]));
  // The easier row took fewer steps.
  EXPECT_LT(together.evaluations[0].item<int64_t>(), together.evaluations[3].item<int64_t>());
}

TEST(DormandPrince, ARowThatBlowsUpIsFlaggedAndTheOthersAreSolved) {
  // y' = row y^2 from 1: y = 1 / (1 - row t) has its pole at t = 1 / row, within [0, 2] for
  // row 1 only.
  const OdeRhs rhs = [](const torch::Tensor& rows, const torch::Tensor&, const torch::Tensor& y) {
    return rows.to(kF64).unsqueeze(1) * y.square();
  };
  const auto solution = dormand_prince(rhs, 0, 2, torch::ones({2, 1}, kF64), {1e-6, 1e-6, 500});
  EXPECT_DOUBLE_EQ(solution.y[0].item<double>(), 1.0);
  EXPECT_FALSE(solution.failed[0].item<bool>());
  EXPECT_TRUE(solution.failed[1].item<bool>());
  EXPECT_TRUE(std::isnan(solution.y[1].item<double>()));
}

TEST(DormandPrince, RejectsAToleranceThatIsNotPositive) {
  try {
    dormand_prince(kRates, 0, 1, torch::ones({1, 1}, kF64), {-1.0, 1e-5});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("rtol = -1"));
  }
  EXPECT_THROW(dormand_prince(kRates, 0, 1, torch::ones({1, 1}, kF64), {1e-5, 0.0}), ConfigError);
}

TEST(RungeKutta4, HalvingTheStepDividesTheErrorBySixteen) {
  const auto error = [](int steps) {
    auto y = torch::ones({1, 1}, kF64);
    const double dt = 1.0 / steps;
    for (int i = 0; i < steps; ++i) {
      // y' = 2 t y, y = exp(t^2): the right-hand side depends on time as well.
      y = runge_kutta4_step([](double t, const torch::Tensor& z) { return 2 * t * z; }, i * dt, dt,
                            y);
    }
    return std::abs(y.item<double>() - std::exp(1.0));
  };
  EXPECT_NEAR(std::log2(error(20) / error(40)), 4, 0.15);
}

}  // namespace
}  // namespace scorenet::diffusion
