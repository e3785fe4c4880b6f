// Frechet distance, kernel distance, precision and recall, on clouds whose answer is known by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>

#include "framework/core/error.hpp"
#include "framework/core/random.hpp"
#include "framework/metrics/frechet.hpp"
#include "framework/metrics/kernel_distance.hpp"
#include "framework/metrics/precision_recall.hpp"

namespace scorenet::metrics {
namespace {

torch::Tensor cloud(uint64_t seed, int64_t n, int64_t dims) {
  return normal_for_slots({seed, RandomStream::synthetic_data, 0}, slot_range(0, n), {dims},
                          torch::kFloat64);
}

torch::Tensor matrix(std::initializer_list<double> values, int64_t rows) {
  return torch::tensor(std::vector<double>(values), torch::kFloat64).reshape({rows, -1});
}

TEST(Frechet, OfCommutingCovariancesIsTheDistanceOfStandardDeviations) {
  // b = a s + m: C_b = s C_a s. With a's covariance made the identity, C_a = I and C_b = diag(s^2):
  // d^2 = |m|^2 + sum (1 - s)^2.
  auto a = cloud(1, 50, 3);
  a = a - a.mean(0);
  const auto factor = torch::linalg_cholesky(a.t().mm(a) / 49);
  a = torch::linalg_solve_triangular(factor, a.t(), /*upper=*/false).t();
  const auto s = torch::tensor({0.5, 2.0, 3.0}, torch::kFloat64);
  const auto m = torch::tensor({1.0, -2.0, 0.5}, torch::kFloat64);
  EXPECT_NEAR(frechet_distance(a, a * s + m), (1 + 4 + 0.25) + (0.25 + 1 + 4), 1e-9);
}

TEST(Frechet, OfTwoGaussiansInThePlaneIsItsClosedForm) {
  // Of 2 x 2 matrices tr (AB)^(1/2) = sqrt(tr AB + 2 sqrt(det AB)). A and B do not commute.
  const Moments a{torch::tensor({1.0, 2.0}, torch::kFloat64), matrix({2, 1, 1, 3}, 2), 0};
  const Moments b{torch::tensor({-1.0, 2.5}, torch::kFloat64), matrix({4, -1, -1, 1}, 2), 0};
  // AB = (7, -1; 1, 2): trace 9, determinant 5 * 3.
  const double cross = std::sqrt(9 + 2 * std::sqrt(15.0));
  EXPECT_NEAR(frechet_distance(a, b), (4 + 0.25) + (5 + 5) - 2 * cross, 1e-12);
  EXPECT_NEAR(frechet_distance(b, a), frechet_distance(a, b), 1e-12);
}

TEST(Frechet, IsSymmetricAndFreeOfRotations) {
  const auto a = cloud(2, 40, 4) * torch::tensor({1.0, 2.0, 0.1, 1.0}, torch::kFloat64);
  const auto b = cloud(3, 60, 4) + 1;
  const auto q = std::get<0>(torch::linalg_qr(cloud(4, 4, 4)));
  EXPECT_NEAR(frechet_distance(a, b), frechet_distance(b, a), 1e-9);
  EXPECT_NEAR(frechet_distance(a, b), frechet_distance(a.mm(q), b.mm(q)), 1e-9);
}

TEST(Frechet, SingularCovariancesDoNoHarm) {
  // 3 points in 10 dimensions, shifted: the covariances are equal, so only the shift remains.
  const auto a = cloud(5, 3, 10);
  EXPECT_NEAR(frechet_distance(a, a + 2), 40, 1e-6);
  EXPECT_NEAR(frechet_distance(a, a), 0, 1e-6);
}

TEST(KernelDistance, OfTwoPairsOnALine) {
  // D = 1, k(x, y) = (x y + 1)^3; x = (0, 1), y = (2, -1). The only pair is (1, 2):
  // k(x1, x2) + k(y1, y2) - k(x1, y2) - k(x2, y1) = 1 + (-1)^3 - 1 - 3^3 = -28.
  const auto kid = kernel_distance(matrix({0, 1}, 2), matrix({2, -1}, 2));
  EXPECT_NEAR(kid.value, -28, 1e-12);
}

TEST(KernelDistance, OfOneLawIsZeroWithinItsErrorAndOfAnotherIsNot) {
  // k(x, y) = (x y + 1)^3 on the line is a polynomial kernel, so MMD^2 = sum over p of binom(3, p)
  // (E x^p - E y^p)^2. N(0, 1) against N(1, 1): moments 0, 1, 0 and 1, 2, 4:
  // 3 * 1 + 3 * 1 + 1 * 16 = 22.
  const auto a = cloud(6, 2000, 1), b = cloud(7, 2000, 1);
  const auto same = kernel_distance(a, b), moved = kernel_distance(a, b + 1);
  EXPECT_NEAR(same.value, 0, 4 * same.standard_error);
  EXPECT_NEAR(moved.value, 22, 4 * moved.standard_error);
  EXPECT_LT(moved.standard_error, 2);  // so that the line above can fail
}

TEST(KernelDistance, ItsErrorIsTheSpreadOverRepeats) {
  // 60 independent pairs of clouds of 100: the spread of the values against the mean of the claimed
  // errors. A sample standard deviation of 60 is good to 1 / sqrt(118) = 9 %, and the cubic
  // kernel's heavy tails double that.
  std::vector<double> values;
  double claimed = 0;
  for (uint64_t i = 0; i < 60; ++i) {
    const auto kid = kernel_distance(cloud(100 + i, 100, 2), 0.5 * cloud(200 + i, 100, 2) + 1);
    values.push_back(kid.value);
    claimed += kid.standard_error / 60;
  }
  EXPECT_NEAR(torch::tensor(values).std().item<double>() / claimed, 1, 0.4);
}

TEST(PrecisionRecall, CountsWhatLiesWithinTheOthersBalls) {
  // Data 0, 1, 2, 3, 4 with k = 1: radius 1 each, so the manifold is [-1, 5]. Samples 0.5, 4.9, 7,
  // 17: two are within. Radii of the samples: 4.4, 2.1, 2.1, 10; balls [-3.9, 4.9], [2.8, 7], [4.9,
  // 9.1], [7, 27]: all data is within.
  const auto data = matrix({0, 1, 2, 3, 4}, 5), samples = matrix({0.5, 4.9, 7, 17}, 4);
  const auto pr = precision_recall(data, samples, 1);
  EXPECT_DOUBLE_EQ(pr.precision, 0.5);
  EXPECT_DOUBLE_EQ(pr.recall, 1.0);
  const auto swapped = precision_recall(samples, data, 1);
  EXPECT_DOUBLE_EQ(swapped.precision, 1.0);
  EXPECT_DOUBLE_EQ(swapped.recall, 0.5);
}

TEST(PrecisionRecall, OfTheDataItselfIsOneAndFarAwayZero) {
  const auto a = cloud(8, 50, 4);
  const auto same = precision_recall(a, a), far = precision_recall(a, a + 1000);
  EXPECT_EQ(same.precision, 1);
  EXPECT_EQ(same.recall, 1);
  EXPECT_EQ(far.precision, 0);
  EXPECT_EQ(far.recall, 0);
}

template <class Failure>
std::string message(const std::function<void()>& call) {
  try {
    call();
  } catch (const Failure& error) {
    return error.what();
  }
  return "no error";
}

TEST(FeatureMetrics, RejectCloudsThatCannotBeCompared) {
  const auto two = torch::zeros({2, 3}), four = torch::zeros({4, 3}), wide = torch::zeros({4, 5});
  const auto holes = torch::full({4, 3}, std::nan(""));
  using testing::HasSubstr;
  EXPECT_THAT(message<ShapeError>([&] { frechet_distance(four, wide); }),
              HasSubstr("fd: points of 3 and 5"));
  EXPECT_THAT(message<ShapeError>([&] { frechet_distance(four, four.narrow(0, 0, 1)); }),
              HasSubstr("at least 2"));
  EXPECT_THAT(message<ShapeError>([&] { kernel_distance(four, two); }), HasSubstr("kid: 4 and 2"));
  EXPECT_THAT(message<ShapeError>([&] { precision_recall(four, two); }),
              HasSubstr("pr: cloud samples"));
  EXPECT_THAT(message<NotFiniteError>([&] { kernel_distance(four, holes); }), HasSubstr("4 of 4"));
}

}  // namespace
}  // namespace scorenet::metrics
