// The steps of diffusers' DDIMScheduler: their numbers, and DDIM's recursion written out on a
// Gaussian's denoiser. Against the scheduler itself: tests/framework/score/diffusers_test.cpp.
#include "framework/diffusion/sampler/trained_steps.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/core/error.hpp"
#include "tests/framework/diffusion/sampler/gaussian_problem.hpp"

namespace scorenet::diffusion {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<double> numbers(const TrainedSteps& trained, int64_t steps) {
  std::vector<double> result;
  for (const TrainedStep& step : trained_steps(trained, steps)) result.push_back(step.from.t);
  return result;
}

std::vector<double> ends(const TrainedSteps& trained, int64_t steps) {
  std::vector<double> result;
  for (const TrainedStep& step : trained_steps(trained, steps)) result.push_back(step.to.t);
  return result;
}

TrainedSteps of(int64_t n, const std::string& spacing, int64_t offset = 0) {
  return {{n, "linear", 0.01, 0.3}, spacing, offset, true, 0};
}

TEST(TrainedSteps, LeadingAreMultiplesOfTheRatioPlusTheOffset) {
  EXPECT_THAT(numbers(of(10, "leading"), 3), ElementsAre(6, 3, 0));
  EXPECT_THAT(ends(of(10, "leading"), 3), ElementsAre(3, 0, -3));
  EXPECT_THAT(numbers(of(10, "leading", 1), 3), ElementsAre(7, 4, 1));
}

TEST(TrainedSteps, TrailingBeginAtTheLast) {
  EXPECT_THAT(numbers(of(10, "trailing"), 5), ElementsAre(9, 7, 5, 3, 1));
  // 10, 7.5, 5, 2.5 round to 10, 8, 5, 2 (halves to even), less one. Each leads
  // 10 / 4 = 2 steps down.
  EXPECT_THAT(numbers(of(10, "trailing"), 4), ElementsAre(9, 7, 4, 1));
  EXPECT_THAT(ends(of(10, "trailing"), 4), ElementsAre(7, 5, 2, -1));
}

TEST(TrainedSteps, LinspaceHasBothEnds) {
  // 0, 3, 6, 9; each leads 10 / 4 = 2 steps down, not to the next.
  EXPECT_THAT(numbers(of(10, "linspace"), 4), ElementsAre(9, 6, 3, 0));
  EXPECT_THAT(ends(of(10, "linspace"), 4), ElementsAre(7, 4, 1, -2));
  EXPECT_THAT(numbers(of(10, "linspace"), 1), ElementsAre(0));
}

TEST(TrainedSteps, LevelsAreTheProductsOfOneMinusBeta) {
  // beta = 0.1, 0.2, 0.3: A = 0.9, 0.72, 0.504.
  TrainedSteps trained{{3, "linear", 0.1, 0.3}, "leading", 0, true, 0};
  const double products[] = {0.504, 0.72, 0.9};
  auto steps = trained_steps(trained, 3);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(steps[i].from.alpha, std::sqrt(products[i]), 1e-7);
    EXPECT_NEAR(steps[i].from.sigma, std::sqrt(1 - products[i]), 1e-7);
  }
  EXPECT_EQ(steps[2].to.alpha, 1);
  EXPECT_EQ(steps[2].to.sigma, 0);
  trained.ends_clean = false;
  steps = trained_steps(trained, 3);
  EXPECT_NEAR(steps[2].to.alpha, std::sqrt(0.9), 1e-7);
}

// 2010.02502, eq. 12 with sigma = eta sqrt((1 - B) / (1 - A)) sqrt(1 - A / B) of eq. 16, A the
// product at the step, B where it leads; eps the network's, x0 clipped as DDIMScheduler clips it.
double by_hand(const GaussianProblem& problem, const TrainedSteps& trained, int64_t steps,
               double eta, double x, const std::vector<double>& noise) {
  std::vector<double> product;
  double a = 1;
  for (int64_t i = 0; i < trained.law.steps; ++i) {
    const double beta = trained.law.beta_min + (trained.law.beta_max - trained.law.beta_min) *
                                                   static_cast<double>(i) /
                                                   static_cast<double>(trained.law.steps - 1);
    a *= 1 - static_cast<float>(beta);  // float32, as the scheduler keeps its factors and products
    product.push_back(static_cast<float>(a));
  }
  const int64_t ratio = trained.law.steps / steps;
  for (int64_t i = steps; i-- > 0;) {
    const int64_t number = i * ratio + trained.offset;
    const double from = product[static_cast<size_t>(number)];
    const double to = number >= ratio ? product[static_cast<size_t>(number - ratio)]
                                      : (trained.ends_clean ? 1 : product[0]);
    const double variance = from * problem.deviation * problem.deviation + 1 - from;
    const double eps = std::sqrt(1 - from) * (x - std::sqrt(from) * problem.mean) / variance;
    double x0 = (x - std::sqrt(1 - from) * eps) / std::sqrt(from);
    if (trained.clip > 0) x0 = std::min(std::max(x0, -trained.clip), trained.clip);
    const double deviation = eta * std::sqrt((1 - to) / (1 - from)) * std::sqrt(1 - from / to);
    x = std::sqrt(to) * x0 + std::sqrt(1 - to - deviation * deviation) * eps +
        deviation * noise[static_cast<size_t>(steps - 1 - i)];
  }
  return x;
}

double sampled(const TrainedSteps& trained, int64_t steps, double eta, double x,
               const std::vector<double>& noise) {
  SamplerOptions options;
  options.name = "ddim";
  options.steps = steps;
  options.eta = eta;
  const auto source = [&](int64_t draw) {
    return torch::full({1, 1}, noise[static_cast<size_t>(draw)], torch::kFloat64);
  };
  const auto start = torch::full({1, 1}, x, torch::kFloat64);
  const auto denoiser = GaussianProblem{}.denoiser();
  return sample_trained_steps(denoiser, trained, options, start, source).x.item<double>();
}

TEST(TrainedSteps, DdimOnThemIsTheRecursionOfThePaper) {
  const std::vector<double> noise = {0.3, -1.1, 0.7, 0.2, -0.4};
  for (const bool clean : {true, false}) {
    for (const double clip : {0.0, 0.35}) {
      for (const double eta : {0.0, 0.6, 1.0}) {
        const TrainedSteps trained{{23, "linear", 0.01, 0.3}, "leading", 1, clean, clip};
        EXPECT_NEAR(sampled(trained, 5, eta, 1.7, noise), by_hand({}, trained, 5, eta, 1.7, noise),
                    1e-12)
            << clean << clip << eta;
      }
    }
  }
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(TrainedSteps, ErrorsNameTheOffendingValue) {
  EXPECT_THAT(refusal([] { trained_steps(of(10, "leading"), 11); }),
              testing::AllOf(HasSubstr("steps = 11"), HasSubstr("from 1 to the 10")));
  EXPECT_THAT(refusal([] { trained_steps(of(10, "leading"), 0); }), HasSubstr("steps = 0"));
  EXPECT_THAT(refusal([] { trained_steps(of(10, "karras"), 5); }),
              testing::AllOf(HasSubstr("karras"), HasSubstr("leading, trailing, linspace")));
  EXPECT_THAT(refusal([] { trained_steps(of(10, "leading", 2), 10); }), HasSubstr("step 11"));
  SamplerOptions options;
  const auto ask = [&] {
    sample_trained_steps(GaussianProblem{}.denoiser(), of(10, "leading"), options,
                         torch::zeros({1, 1}, torch::kFloat64), nullptr);
  };
  options.name = "heun";
  EXPECT_THAT(refusal(ask), testing::AllOf(HasSubstr("heun"), HasSubstr("Use ddim")));
  options.name = "ddim";
  options.eta = 1.5;
  EXPECT_THAT(refusal(ask), HasSubstr("eta = 1.5"));
}

}  // namespace
}  // namespace scorenet::diffusion
