// Gradients that travel in fewer bytes, against exact sums and on a small problem.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "framework/comm/sim_communicator.hpp"
#include "framework/core/error.hpp"
#include "framework/reduce/bf16_traffic.hpp"
#include "framework/reduce/gradient_reducer.hpp"
#include "framework/reduce/powersgd_traffic.hpp"

namespace scorenet::reduce {
namespace {

using comm::Communicator;
using comm::run_simulated;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

/// One matrix (12, 10) and one vector (7), in buckets of their own, whose gradients are given.
struct Model {
  std::vector<torch::Tensor> w{torch::zeros({12, 10}), torch::zeros({7})};
  FlatLayout layout = make_flat_layout({120, 7});
  torch::Tensor flat = torch::zeros({layout.total});
  GradientReducer reducer;

  Model(Communicator& c, const MakeTraffic& traffic)
      : reducer((w[0].requires_grad_(), w[1].requires_grad_(), w), flat, layout, c,
                {{64, 64, 64}, {}, traffic, true, {"matrix", "vector"}}) {}

  /// The reducer's "sum" of such gradients over the ranks.
  void step(const torch::Tensor& matrix, const torch::Tensor& vector) {
    reducer.zero_gradients();
    reducer.begin(true);
    ((w[0] * matrix).sum() + (w[1] * vector).sum()).backward();
    reducer.finish();
  }
};

torch::Tensor matrix_of(int rank, int step) {
  return torch::sin(torch::arange(120, torch::kFloat32) * (1 + rank) + step).view({12, 10});
}
torch::Tensor vector_of(int rank, int step) {
  return torch::cos(torch::arange(7, torch::kFloat32) * (1 + rank) + step);
}

TEST(Bf16Traffic, SumsInFloat32WithOneRoundingOnEachWayAndEqualBitsOnAllRanks) {
  for (const int n : {2, 3, 4}) {
    std::vector<torch::Tensor> results(static_cast<size_t>(n));
    EXPECT_THAT(run_simulated(n, {},
                              [&](Communicator& c) {
                                Model m(c, bf16_traffic());
                                m.step(matrix_of(c.rank(), 0), vector_of(c.rank(), 0));
                                results[size_t(c.rank())] = m.flat.clone();
                                // Two operations a bucket; each carries the padded bucket in two
                                // bytes a number.
                                EXPECT_EQ(m.reducer.stats().calls, 4);
                                EXPECT_LE(m.reducer.stats().bytes,
                                          2 * 2 * (m.layout.total + 2 * n));
                                EXPECT_GE(m.reducer.stats().bytes, 2 * 2 * m.layout.total);
                              }),
                Each(IsEmpty()));
    torch::Tensor sum = torch::zeros({12, 10}), size = torch::zeros({12, 10});
    for (int r = 0; r < n; ++r) {
      EXPECT_TRUE(torch::equal(results[size_t(r)], results[0]));
      sum += matrix_of(r, 0);
      size += matrix_of(r, 0).abs();
    }
    const auto offset = make_flat_layout({120, 7}).offsets[0];
    const auto got = results[0].narrow(0, offset, 120).view({12, 10});
    // u = 2^-8: u sum |g| on the way there, u |sum| on the way back, and their product.
    const auto bound = (size + sum.abs()) * std::exp2(-8) * (1 + std::exp2(-8));
    EXPECT_TRUE(((got - sum).abs() <= bound).all().item<bool>()) << n;
    EXPECT_FALSE(torch::equal(got, sum));  // or nothing was compressed
  }
}

TEST(PowerSgdTraffic, IsExactForGradientsOfItsRankAndSendsVectorsAsTheyAre) {
  // Rank r gives (r + 1) a b^T + (r + 2) c d^T: the sum has rank 2, so that P spans its columns and
  // nothing is left out.
  const auto a = torch::arange(1, 13, torch::kFloat32).view({12, 1});
  const auto b = torch::sin(torch::arange(10, torch::kFloat32)).view({1, 10});
  const auto c1 = torch::cos(torch::arange(12, torch::kFloat32)).view({12, 1});
  const auto d = torch::arange(10, torch::kFloat32).view({1, 10});
  EXPECT_THAT(run_simulated(2, {},
                            [&](Communicator& c) {
                              Model m(c, powersgd_traffic(2));
                              const int r = c.rank();
                              m.step((r + 1) * a.mm(b) + (r + 2) * c1.mm(d), vector_of(r, 0));
                              const auto sum = 3 * a.mm(b) + 5 * c1.mm(d);
                              EXPECT_TRUE(torch::allclose(m.w[0].grad(), sum, 1e-4, 1e-4));
                              const auto vectors = vector_of(0, 0) + vector_of(1, 0);
                              EXPECT_TRUE(torch::equal(m.w[1].grad(), vectors));
                              // P: 12 x 2, Q: 10 x 2, and the vector of 7.
                              EXPECT_EQ(m.reducer.stats().bytes, 4 * (24 + 20 + 7));
                            }),
              Each(IsEmpty()));
}

TEST(PowerSgdTraffic, WhatWasUsedAndWhatIsLeftOutAddUpToTheTrueSums) {
  // sum_t (P Q^T)_t + sum_r E_r = sum_t sum_r g_(r,t), whatever was left out in between.
  constexpr int kRanks = 3, kSteps = 7;
  torch::Tensor left_out = torch::zeros({12, 10}), used;
  std::mutex mutex;
  EXPECT_THAT(run_simulated(
                  kRanks, {},
                  [&](Communicator& c) {
                    Model m(c, powersgd_traffic(1));
                    torch::Tensor total = torch::zeros({12, 10});
                    for (int t = 0; t < kSteps; ++t) {
                      m.step(matrix_of(c.rank(), t), vector_of(c.rank(), t));
                      total += m.w[0].grad();
                    }
                    const auto state = m.reducer.traffic_state();
                    EXPECT_EQ(state[0].name, "powersgd.error");
                    EXPECT_EQ(state[1].name, "powersgd.q.matrix");
                    const std::lock_guard lock(mutex);
                    left_out += state[0].values.narrow(0, m.layout.offsets[0], 120).view({12, 10});
                    used = total;
                  }),
              Each(IsEmpty()));
  torch::Tensor truth = torch::zeros({12, 10});
  for (int r = 0; r < kRanks; ++r) {
    for (int t = 0; t < kSteps; ++t) truth += matrix_of(r, t);
  }
  EXPECT_GT(left_out.norm().item<double>(), 0.1);  // or nothing was compressed
  EXPECT_TRUE(torch::allclose(used + left_out, truth, 1e-4, 1e-4));
}

TEST(PowerSgdTraffic, AGradientThatIsNotFiniteLeavesItsStateAlone) {
  EXPECT_THAT(run_simulated(2, {},
                            [&](Communicator& c) {
                              Model m(c, powersgd_traffic(1));
                              m.step(matrix_of(c.rank(), 0), vector_of(c.rank(), 0));
                              const auto error = m.reducer.traffic_state()[0].values.clone();
                              const auto q = m.reducer.traffic_state()[1].values.clone();
                              torch::Tensor bad = matrix_of(c.rank(), 1);
                              if (c.rank() == 1) bad[3][4] = std::nan("");
                              m.step(bad, vector_of(c.rank(), 1));
                              EXPECT_FALSE(m.w[0].grad().isfinite().all().item<bool>());
                              EXPECT_TRUE(torch::equal(m.reducer.traffic_state()[0].values, error));
                              EXPECT_TRUE(torch::equal(m.reducer.traffic_state()[1].values, q));
                            }),
              Each(IsEmpty()));
}

/// Gradient descent on |w - target_r|^2 / 2 summed over 2 ranks, whose minimum is the mean of the
/// targets: the distance to it.
double distance_after(int steps, const MakeTraffic& traffic) {
  double distance = -1;
  EXPECT_THAT(run_simulated(2, {},
                            [&](Communicator& c) {
                              Model m(c, traffic);
                              for (int t = 0; t < steps; ++t) {
                                m.step(m.w[0].detach() - matrix_of(c.rank(), 0), vector_of(0, 0));
                                const torch::NoGradGuard no_grad;
                                m.w[0].sub_(0.1 * m.w[0].grad());
                              }
                              const auto mean = (matrix_of(0, 0) + matrix_of(1, 0)) / 2;
                              if (c.rank() == 0)
                                distance = (m.w[0].detach() - mean).norm().item<double>();
                            }),
              Each(IsEmpty()));
  return distance;
}

TEST(CompressedTraffic, DescentReachesTheMinimum) {
  const double start = distance_after(0, all_reduce_traffic());
  // Uncompressed, each step leaves 1 - 0.1 * 2 = 0.8 of the distance: 0.8^40 = 1.3e-4.
  EXPECT_NEAR(distance_after(40, all_reduce_traffic()), start * std::pow(0.8, 40), 1e-4 * start);
  EXPECT_LT(distance_after(40, bf16_traffic()), 0.01 * start);
  // Rank 1 of 10: what is left out comes in later steps, so it takes some times as many.
  EXPECT_LT(distance_after(300, powersgd_traffic(1)), 0.05 * start);
}

TEST(CompressedTraffic, WrongTypesAndRanksAreNamed) {
  const auto errors = [](const MakeTraffic& traffic, torch::Dtype type) {
    return run_simulated(2, {}, [&](Communicator& c) {
      const auto w = torch::zeros({4, 4}, type).requires_grad_();
      const auto layout = make_flat_layout({16});
      GradientReducer({w}, torch::zeros({16}, type), layout, c, {{64, 64, 64}, {}, traffic});
    });
  };
  EXPECT_THAT(errors(bf16_traffic(), torch::kFloat64), Each(HasSubstr("Double")));
  EXPECT_THAT(errors(powersgd_traffic(2), torch::kFloat64), Each(HasSubstr("Double")));
  EXPECT_THAT(errors(powersgd_traffic(0), torch::kFloat32),
              Each(HasSubstr("comm.powersgd_rank = 0")));
}

}  // namespace
}  // namespace scorenet::reduce
