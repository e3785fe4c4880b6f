// How each method converges, measured on Gaussian data, where mean and variance of its output
// are known exactly.
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>

#include "tests/framework/diffusion/sampler/gaussian_problem.hpp"

namespace scorenet::diffusion {
namespace {

struct OrderCase {
  std::string name;
  double hbar;  // of the family; for ddim its eta
  double churn;
  double order;
};

std::string case_name(const testing::TestParamInfo<OrderCase>& info) {
  std::string name = info.param.name + "_" +
                     std::to_string(static_cast<int>(10 * info.param.hbar)) + "_" +
                     std::to_string(static_cast<int>(info.param.churn));
  for (char& letter : name) {
    if (letter == '-') letter = '_';
  }
  return name;
}

SamplerOptions options_of(const OrderCase& c, int64_t steps) {
  SamplerOptions options;
  options.name = c.name;
  options.steps = steps;
  options.spacing = "log-snr";
  (c.name == "ddim" ? options.eta : options.hbar) = c.hbar;
  options.churn = c.churn;
  // The predictor's order is measured: Langevin steps of a fixed size leave a bias of their own.
  options.corrector_steps = 0;
  return options;
}

class SamplerOrder : public testing::TestWithParam<OrderCase> {};

// Started from the exact law at t_max, N(alpha mu, V), the exact score gives N(alpha mu, V) at
// t_min for every hbar.
TEST_P(SamplerOrder, HalvingTheStepDividesTheErrorsOfMeanAndVarianceByTwoToTheOrder) {
  const auto schedule = make_schedule({.name = "vp_linear", .t_min = 0.01, .t_max = 0.9});
  const GaussianProblem problem;
  const NoiseLevel noisy = schedule->at(0.9, 1), clean = schedule->at(0.01, 1);
  const auto errors = [&](int64_t steps) {
    const auto out =
        affine_outcome(problem.denoiser(), *schedule, options_of(GetParam(), steps), steps);
    const double start_mean = noisy.alpha.item<double>() * problem.mean;
    const double mean = out.offset + out.slope * start_mean;
    const double variance = out.slope * out.slope * problem.variance_at(noisy) + out.noise_variance;
    return std::pair(std::abs(mean - clean.alpha.item<double>() * problem.mean),
                     std::abs(variance - problem.variance_at(clean)));
  };
  const auto coarse = errors(64), fine = errors(128);
  const double variance_order = std::log2(coarse.second / fine.second);
  EXPECT_NEAR(variance_order, GetParam().order, 0.25) << coarse.second << " " << fine.second;
  // The mean is often much better (it is exact where the update maps alpha_t mu to alpha_s
  // mu), never worse.
  if (coarse.first > 1e-12) {
    EXPECT_GT(std::log2(coarse.first / fine.first), GetParam().order - 0.25)
        << coarse.first << " " << fine.first;
  }
  EXPECT_LT(fine.second, 0.1 * problem.variance_at(clean));
}

INSTANTIATE_TEST_SUITE_P(
    AllMethods, SamplerOrder,
    testing::Values(OrderCase{"ancestral", 1, 0, 1}, OrderCase{"ddim", 0, 0, 1},
                    OrderCase{"ddim", 0.5, 0, 1}, OrderCase{"ddim", 1, 0, 1},
                    OrderCase{"euler-maruyama", 0, 0, 1}, OrderCase{"euler-maruyama", 0.5, 0, 1},
                    OrderCase{"euler-maruyama", 1, 0, 1}, OrderCase{"euler-maruyama", 2, 0, 1},
                    OrderCase{"heun", 0, 0, 2}, OrderCase{"heun", 0, 5, 2},
                    OrderCase{"dpmpp-2m", 0, 0, 2}, OrderCase{"dpmpp-2m-sde", 0, 0, 2},
                    OrderCase{"dpmpp-2m-sde", 0.5, 0, 2}, OrderCase{"dpmpp-2m-sde", 1, 0, 2},
                    OrderCase{"exponential", 0, 0, 1}, OrderCase{"pc", 1, 0, 1}),
    case_name);

// A wrong score, (1 + e) times the exact one, separates the members of the family. In y = x /
// alpha, theta = (sigma / alpha)^2, r = s^2 + theta, 2k = (1 + h)(1 + e), the variance W of y obeys
// dW / dtheta = 2k W / r - h, so that
//     W_0 = (W_1 - h r_1 / (2k - 1)) (r_0 / r_1)^{2k} + h r_0 / (2k - 1).
double family_variance(const GaussianProblem& problem, const NoiseLevel& noisy,
                       const NoiseLevel& clean, double start_variance, double hbar) {
  const auto r = [&](const NoiseLevel& level) {
    return problem.variance_at(level) / level.alpha.square().item<double>();
  };
  const double two_k = (1 + hbar) * problem.score_scale;
  const double particular = hbar / (two_k - 1);
  const double w_noisy = start_variance / noisy.alpha.square().item<double>();
  const double w_clean = (w_noisy - particular * r(noisy)) * std::pow(r(clean) / r(noisy), two_k) +
                         particular * r(clean);
  return w_clean * clean.alpha.square().item<double>();
}

TEST(SamplerFamily, AWrongScoreGivesTheClosedFormVarianceAtEveryHbar) {
  const auto schedule = make_schedule({.name = "vp_linear", .t_min = 0.01, .t_max = 0.9});
  const GaussianProblem problem{.mean = 0, .deviation = 0.5, .score_scale = 1.2};
  const NoiseLevel noisy = schedule->at(0.9, 1), clean = schedule->at(0.01, 1);
  for (const std::string name : {"euler-maruyama", "dpmpp-2m-sde"}) {
    for (const double hbar : {0.0, 0.5, 1.0, 2.0}) {
      const auto variance = [&](int64_t steps) {
        const auto options = options_of({name, hbar, 0, 0}, steps);
        const auto out = affine_outcome(problem.denoiser(), *schedule, options, steps);
        return out.slope * out.slope * 1.1 + out.noise_variance;
      };
      // Richardson: the leading error of order p cancels in (2^p v(2N) - v(N)) / (2^p - 1).
      const double gain = name == "euler-maruyama" ? 2 : 4;
      const double extrapolated = (gain * variance(400) - variance(200)) / (gain - 1);
      const double expected = family_variance(problem, noisy, clean, 1.1, hbar);
      EXPECT_NEAR(extrapolated, expected, 2e-3 * expected) << name << " hbar " << hbar;
    }
  }
}

TEST(SamplerFamily, TheAdaptiveOdeIsTheFlowOfAGaussianToItsTolerance) {
  // flow(x) = alpha_u mu + sqrt(V_u / V_t) (x - alpha_t mu), under a schedule of each kind.
  const GaussianProblem problem;
  for (const std::string name : {"vp_linear", "ve", "edm", "flow", "vp_tan", "subvp"}) {
    const auto schedule = make_schedule({.name = name});
    SamplerOptions options;
    options.name = "ode";
    options.rtol = 1e-9;  // and so atol
    const NoiseLevel noisy = schedule->at(schedule->t_max(), 1),
                     clean = schedule->at(schedule->t_min(), 1);
    const auto out = affine_outcome(problem.denoiser(), *schedule, options, 0);
    const double slope = std::sqrt(problem.variance_at(clean) / problem.variance_at(noisy));
    const double offset =
        problem.mean * (clean.alpha.item<double>() - slope * noisy.alpha.item<double>());
    // Tens of steps, each wrong by 1e-9 at most, in units of the larger of |x| along the way (80
    // for ve and edm).
    const double scale = std::sqrt(problem.variance_at(noisy));
    EXPECT_NEAR(out.slope, slope, 1e-6) << name;
    EXPECT_NEAR(out.offset, offset, 1e-7 * std::max(1.0, scale)) << name;
  }
}

}  // namespace
}  // namespace scorenet::diffusion
