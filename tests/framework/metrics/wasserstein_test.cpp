// Distances known by hand or by trying every assignment.
#include "framework/metrics/wasserstein.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "framework/core/error.hpp"
#include "framework/core/random.hpp"

namespace scorenet::metrics {
namespace {

torch::Tensor cloud(uint64_t seed, int64_t n, int64_t dims) {
  return normal_for_slots({seed, RandomStream::synthetic_data, 0}, slot_range(0, n), {dims},
                          torch::kFloat64);
}

TEST(Wasserstein, IsTheBestOfAllAssignments) {
  const int64_t n = 6;
  const auto a = cloud(1, n, 2), b = cloud(2, n, 2);
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  double best = 1e300;
  do {
    const auto index = torch::tensor(order);
    best = std::min(best, (a - b.index_select(0, index)).square().sum().item<double>() / n);
  } while (std::next_permutation(order.begin(), order.end()));
  const Wasserstein w = wasserstein2(a, b);
  EXPECT_NEAR(w.squared, best, 1e-12);
  EXPECT_NEAR(w.root, std::sqrt(best), 1e-12);
}

TEST(Wasserstein, OnTheLineItPairsTheSortedPoints) {
  const auto a = cloud(3, 300, 1), b = 2 * cloud(4, 300, 1) + 1;
  const auto sorted = std::get<0>(a.sort(0)) - std::get<0>(b.sort(0));
  EXPECT_NEAR(wasserstein2(a, b).squared, sorted.square().mean().item<double>(), 1e-11);
}

TEST(Wasserstein, OfATranslationIsItsLength) {
  // No coupling beats moving every point by the shift: W2^2 >= |mean difference|^2.
  const auto a = cloud(5, 100, 3);
  const auto shift = torch::tensor({3.0, 0.0, 4.0}, torch::kFloat64);
  EXPECT_NEAR(wasserstein2(a, a + shift).root, 5, 1e-10);
  EXPECT_NEAR(wasserstein2(a, a).squared, 0, 1e-14);
}

TEST(Wasserstein, CloudsMayDifferInSize) {
  // One point against two: half its mass goes to each, (1 + 9) / 2.
  const auto a = torch::tensor({{0.0}}), b = torch::tensor({{1.0}, {-3.0}});
  EXPECT_NEAR(wasserstein2(a, b).squared, 5, 1e-12);
  EXPECT_NEAR(wasserstein2(b, a).squared, 5, 1e-12);
  // Repeating each point of a cloud leaves its law as it was: 20 against 30 points.
  const auto x = cloud(6, 10, 2), y = cloud(7, 10, 2);
  EXPECT_NEAR(wasserstein2(x.repeat({2, 1}), y.repeat({3, 1})).squared, wasserstein2(x, y).squared,
              1e-12);
}

TEST(Wasserstein, RejectsCloudsThatCannotBeCompared) {
  const auto message = [](const torch::Tensor& a, const torch::Tensor& b) -> std::string {
    try {
      wasserstein2(a, b);
    } catch (const ShapeError& error) {
      return error.what();
    } catch (const NotFiniteError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message(torch::zeros({3, 2}), torch::zeros({3, 5})), testing::HasSubstr("2 and 5"));
  EXPECT_THAT(message(torch::zeros({0, 2}), torch::zeros({3, 2})), testing::HasSubstr("(0, 2)"));
  EXPECT_THAT(message(torch::zeros({3, 2}), torch::full({3, 2}, std::nan(""))),
              testing::HasSubstr("3 of 3"));
}

}  // namespace
}  // namespace scorenet::metrics
