// The diffusion term: one value whatever is predicted, its closed form on Gaussian data, and
// its T-step form.
#include "framework/diffusion/loss.hpp"

#include <torch/autograd.h>

#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using test::doubles;
using test::expect_close;
using test::expect_error;
using test::gaussian;
using test::schedule_named;

constexpr Prediction kAll[] = {Prediction::x0, Prediction::eps, Prediction::v, Prediction::score,
                               Prediction::F};

// A raw network that says, in terms of `p`, what the denoiser thinks.
Network network_of(const Denoiser& denoiser, const Parametrisation& p, const Schedule& schedule) {
  return [=, &schedule](const torch::Tensor& scaled, const torch::Tensor& log_snr) {
    const NoiseLevel level = schedule.at(schedule.time_of(log_snr));
    const double signal = p.prediction == Prediction::F ? p.sigma_data * p.sigma_data : 1.0;
    const auto c_in = (level.sigma.square() + signal * level.alpha.square()).rsqrt();
    const Denoised d = denoiser(scaled / c_in.view({-1, 1}), level);
    return target_from(p, d.x0, d.eps, level);
  };
}

struct Draws {
  torch::Tensor x0, eps;
};
Draws draws(const GaussianMixture& law, int64_t n) {
  return {law.sample({1, RandomStream::synthetic_data, 0}, slot_range(0, n)),
          normal_for_slots({1, RandomStream::training_noise, 0}, slot_range(0, n), {law.dims()},
                           torch::kFloat64)};
}

// Least eps error of N(m, diag L): sum_j snr L_j / (1 + snr L_j).
torch::Tensor least_eps_error(const torch::Tensor& log_snr, const std::vector<double>& variances) {
  auto sum = torch::zeros_like(log_snr);
  for (const double l : variances) sum = sum + torch::sigmoid(log_snr + std::log(l));
  return sum;
}

TEST(Loss, TheDiffusionTermIsTheSameWhateverTheNetworkPredicts) {
  const auto law = gaussian({0.3, -1.0}, {0.5, 2.0});
  const auto denoiser = make_mixture_denoiser(law, {1.2, {}, doubles({0.1, 0.2})});
  const auto [x0, eps] = draws(*law, 8);
  for (const char* name : {"vp_linear", "subvp", "ve", "flow"}) {
    const auto schedule = schedule_named(name);
    const auto times = log_snr_times(*schedule, torch::linspace(0.05, 0.95, 8, torch::kFloat64));
    const auto value = [&](const Parametrisation& p) {
      return loss_per_example(network_of(denoiser, p, *schedule), p, Weighting::elbo, *schedule, x0,
                              times, eps);
    };
    const auto expected = value({Prediction::eps, 0.5});
    for (const Prediction prediction : kAll) {
      // Targets of x0 and F lose digits by up to the ratio sigma / alpha or its inverse, about 1e3.
      expect_close(value({prediction, 0.7}) / expected, torch::ones_like(expected), 1e-9,
                   std::string(name) + " " + name_of(prediction));
    }
  }
}

TEST(Loss, TheExactDenoiserReachesTheClosedFormUnderEverySchedule) {
  // 1/2 int sum_j sigmoid(log_snr + log L_j) d log_snr = 1/2 sum_j
  // log((1 + L_j snr_0) / (1 + L_j snr_1)).
  const std::vector<double> variances{0.2, 1.5, 4.0};
  const auto law = gaussian({0, 1, -2}, variances);
  const int64_t n = 4000;
  const auto [x0, eps] = draws(*law, n);
  for (const std::string& name : schedule_names()) {
    const auto schedule = schedule_named(name);
    const auto u = independent_positions({2, RandomStream::training_time, 0}, slot_range(0, n));
    const Parametrisation p{Prediction::v, 1.0};
    const auto loss =
        loss_per_example(network_of(make_mixture_denoiser(law), p, *schedule), p,
                         Weighting::likelihood, *schedule, x0, log_snr_times(*schedule, u), eps);
    const auto ends = schedule->log_snr(doubles({schedule->t_min(), schedule->t_max()}));
    double expected = 0;
    for (const double l : variances) {
      expected += 0.5 * (std::log1p(l * std::exp(ends[0].item<double>())) -
                         std::log1p(l * std::exp(ends[1].item<double>())));
    }
    const double standard_error = loss.std().item<double>() / std::sqrt(double(n));
    EXPECT_NEAR(loss.mean().item<double>(), expected, 4 * standard_error) << name;
    EXPECT_LT(standard_error, 0.05 * expected) << name;
  }
}

TEST(Loss, EveryTimeDensityEstimatesTheSameIntegral) {
  const auto law = gaussian({0}, {1});
  const auto schedule = schedule_named("vdm_linear");
  const int64_t n = 4000;
  const auto [x0, eps] = draws(*law, n);
  const Parametrisation p{Prediction::eps, 0.5};
  const auto network = network_of(make_mixture_denoiser(law), p, *schedule);
  const double expected = 0.5 * (std::log1p(std::exp(13.3)) - std::log1p(std::exp(-5)));
  const auto u = independent_positions({3, RandomStream::training_time, 0}, slot_range(0, n));
  for (const TimeSample& times : {uniform_times(*schedule, u), log_snr_times(*schedule, u),
                                  log_normal_times(*schedule, u, -3.0, 4.0)}) {
    const auto loss = loss_per_example(network, p, Weighting::elbo, *schedule, x0, times, eps);
    EXPECT_NEAR(loss.mean().item<double>(), expected,
                4 * loss.std().item<double>() / std::sqrt(double(n)));
  }
}

TEST(Loss, TheNamedWeightsAreThePapersWeightsOnTheDataError) {
  // All on |x0 - x0_hat|^2 for a network that predicts x0 and is wrong by d;
  // sigma' = sigma / alpha.
  const auto schedule = schedule_named("vp_linear");
  const TimeSample times{doubles({0.05, 0.4, 0.9}), doubles({2.0, 2.0, 2.0})};
  const NoiseLevel level = schedule->at(times.t);
  const auto snr = level.log_snr.exp();
  const Parametrisation x0{Prediction::x0, 0.5};
  const auto weight = [&](Weighting w, const Parametrisation& p) {
    return loss_weight(w, p, *schedule, times);
  };
  const auto s2 = 1 / snr;
  expect_close(weight(Weighting::edm, x0) / ((s2 + 0.25) / (s2 * 0.25)),
               torch::ones({3}, torch::kFloat64), 1e-12);
  expect_close(weight(Weighting::min_snr, x0), snr.clamp_max(5), 1e-12);
  expect_close(weight(Weighting::elbo, x0) / (-schedule->d_log_snr(times.t) * snr),
               torch::ones({3}, torch::kFloat64),
               1e-12);  // gamma' e^{-gamma} / 2 times 1 / p = 2
  expect_close(weight(Weighting::simple, x0), torch::ones({3}, torch::kFloat64), 0);
  // g^2 / 2 on the score's error.
  expect_close(weight(Weighting::likelihood, {Prediction::score, 0.5}),
               schedule->g_squared(times.t), 1e-12);
  expect_close(weight(Weighting::simple, {Prediction::score, 0.5}), level.sigma.square(), 1e-15);
  // EDM's weight makes the error of F plain.
  expect_close(weight(Weighting::edm, {Prediction::F, 0.5}), torch::ones({3}, torch::kFloat64),
               1e-12);
}

TEST(Loss, SimpleOfASilentNetworkIsTheSquaredTarget) {
  const auto schedule = schedule_named("vp_cosine");
  const auto law = gaussian({0, 0}, {1, 1});
  const auto [x0, eps] = draws(*law, 5);
  const Network silent = [](const torch::Tensor& x, const torch::Tensor&) {
    return torch::zeros_like(x);
  };
  const auto loss = loss_per_example(
      silent, {Prediction::eps, 0.5}, Weighting::simple, *schedule, x0,
      uniform_times(*schedule, torch::linspace(0.1, 0.9, 5, torch::kFloat64)), eps);
  expect_close(loss, eps.square().sum(1), 1e-15);
}

TEST(Loss, TheSampledStepIsAnUnbiasedEstimateOfTheStepwiseSum) {
  // For fixed noise, the mean over i = 1..T of the one-term estimate is the sum itself
  // (the factor T, once):
  // sum_i expm1(log_snr_{i-1} - log_snr_i) / 2 |eps - eps_hat_i|^2.
  const auto schedule = schedule_named("vdm_linear");
  const auto law = gaussian({0.5}, {0.3});
  const auto denoiser = make_mixture_denoiser(law);
  const Parametrisation p{Prediction::eps, 0.5};
  const auto x0 = doubles({0.9}).unsqueeze(1), eps = doubles({-0.4}).unsqueeze(1);
  for (const int64_t steps : {1, 10}) {
    const auto grid = step_times(*schedule, steps);
    double sum = 0;
    for (int64_t i = 1; i <= steps; ++i) {
      const NoiseLevel level = schedule->at(grid[i].item<double>(), 1);
      const double drop = 18.3 / double(steps);  // log_snr is linear in t
      const auto error = eps - denoiser(add_noise(x0, eps, level), level).eps;
      sum += 0.5 * std::expm1(drop) * error.square().item<double>();
    }
    const auto all = torch::arange(1, steps + 1, torch::kInt64);
    const auto loss = stepwise_loss_per_example(network_of(denoiser, p, *schedule), p, *schedule,
                                                steps, x0.expand({steps, 1}),
                                                reverse_step(grid, all), eps.expand({steps, 1}));
    EXPECT_NEAR(loss.mean().item<double>() / sum, 1, 1e-11);
  }
}

TEST(Loss, LuosThreeFormsOfADenoisingStepHaveOneValueAndOneGradient) {
  // 2208.11970 with al = alpha_t^2 / alpha_s^2, Ab = alpha^2,
  // sigma_q^2 = (1 - al)(1 - Ab_s) / (1 - Ab_t): weights Ab_s (1 - al)^2 / (1 - Ab_t)^2,
  // (1 - al)^2 / ((1 - Ab_t) al) and (1 - al)^2 / al over 2 sigma_q^2 on the errors of x0, noise
  // and score. The network says x0_hat = w x_t; its noise and score are the same statement.
  const auto schedule = schedule_named("vp_linear");
  const auto step = torch::tensor({3, 7}, torch::kInt64);
  const auto grid = step_times(*schedule, 10);
  const ReverseStep chain = reverse_step(grid, step);
  const NoiseLevel t = schedule->at(grid.index_select(0, step)),
                   s = schedule->at(grid.index_select(0, step - 1));
  const auto ab_t = t.alpha.square(), ab_s = s.alpha.square(), al = ab_t / ab_s;
  const auto sigma_q2 = (1 - al) * (1 - ab_s) / (1 - ab_t);
  const auto weight = [&](Prediction p) { return step_weight({p, 0.5}, *schedule, chain); };
  const auto ones = torch::ones({2}, torch::kFloat64);
  expect_close(
      weight(Prediction::x0) / (ab_s * (1 - al).square() / (1 - ab_t).square() / (2 * sigma_q2)),
      ones, 1e-11);
  expect_close(weight(Prediction::eps) / ((1 - al).square() / ((1 - ab_t) * al) / (2 * sigma_q2)),
               ones, 1e-11);
  expect_close(weight(Prediction::score) / ((1 - al).square() / al / (2 * sigma_q2)), ones, 1e-11);

  const auto law = gaussian({0.5, 0}, {0.3, 2});
  const auto [x0, eps] = draws(*law, 2);
  torch::Tensor value, gradient;
  for (const Prediction prediction : {Prediction::x0, Prediction::eps, Prediction::score}) {
    const auto w = torch::full({1}, 0.6, torch::kFloat64).requires_grad_();
    const Denoiser linear = [&](const torch::Tensor& x, const NoiseLevel& level) -> Denoised {
      const auto a = level.alpha.view({-1, 1}), b = level.sigma.view({-1, 1});
      return {w * x, (x - a * w * x) / b};
    };
    const Parametrisation p{prediction, 0.5};
    const auto loss = stepwise_loss_per_example(network_of(linear, p, *schedule), p, *schedule, 10,
                                                x0, chain, eps);
    const auto slope = torch::autograd::grad({loss.sum()}, {w})[0];
    if (!value.defined()) value = loss.detach(), gradient = slope;
    expect_close(loss.detach() / value, ones, 1e-11, name_of(prediction));
    EXPECT_NEAR((slope / gradient).item<double>(), 1, 1e-11) << name_of(prediction);
  }
}

TEST(Loss, MoreStepsNeverLoosenTheBoundAndTheirLimitIsTheContinuousTerm) {
  // The T-step term is a right Riemann sum in snr of the falling function mse_x / 2, so doubling T
  // never raises it.
  const std::vector<double> variances{0.7};
  const double limit = 0.5 * (std::log1p(0.7 * std::exp(13.3)) - std::log1p(0.7 * std::exp(-5)));
  const auto schedule = schedule_named("vdm_linear");
  double previous = std::numeric_limits<double>::infinity();
  for (int64_t steps = 1; steps <= 4096; steps *= 2) {
    const auto log_snr = schedule->log_snr(step_times(*schedule, steps));
    const auto drop = log_snr.slice(0, 0, steps) - log_snr.slice(0, 1);
    const double value =
        (0.5 * torch::expm1(drop) * least_eps_error(log_snr.slice(0, 1), variances))
            .sum()
            .item<double>();
    EXPECT_LE(value, previous) << steps;
    EXPECT_GE(value, limit) << steps;
    previous = value;
  }
  EXPECT_NEAR(previous, limit, 0.05);  // first order in 1 / T
}

TEST(Loss, StepsCoverOneToTAndNeverZero) {
  const auto i = steps_from_positions(doubles({0.0, 0.0999, 0.1, 0.5, 0.99999}), 10);
  EXPECT_TRUE(torch::equal(i, torch::tensor({1, 1, 2, 6, 10}, torch::kInt64)));
}

TEST(Loss, TheGradientReachesTheNetwork) {
  // Network w * x with eps prediction and simple weight: d/dw |eps - w x_t|^2 = -2 x_t .
  // (eps - w x_t).
  const auto schedule = schedule_named("vp_linear");
  const auto w = torch::full({1}, 0.5, torch::kFloat64).requires_grad_();
  const Network network = [&](const torch::Tensor& x, const torch::Tensor&) { return w * x; };
  const auto law = gaussian({0, 0}, {1, 1});
  const auto [x0, eps] = draws(*law, 3);
  const auto times = uniform_times(*schedule, doubles({0.2, 0.5, 0.8}));
  const auto loss = loss_per_example(network, {Prediction::eps, 0.5}, Weighting::simple, *schedule,
                                     x0, times, eps);
  const auto gradient = torch::autograd::grad({loss.sum()}, {w})[0];
  const auto x_t = add_noise(x0, eps, schedule->at(times.t));
  EXPECT_NEAR(gradient.item<double>(), (-2 * x_t * (eps - 0.5 * x_t)).sum().item<double>(), 1e-12);
}

TEST(Loss, ErrorsNameTheOffendingValue) {
  expect_error<ConfigError>([] { weighting_from_name("mse"); },
                            "\"mse\": expected one of elbo likelihood simple");
  for (const std::string& name : weighting_names()) EXPECT_NO_THROW(weighting_from_name(name));
  expect_error<ConfigError>([] { step_times(*schedule_named("ve"), 0); }, "T = 0");
  const auto schedule = schedule_named("ve");
  const Network wrong = [](const torch::Tensor& x, const torch::Tensor&) {
    return x.slice(1, 0, 1);
  };
  expect_error<ShapeError>(
      [&] {
        loss_per_example(wrong, {}, Weighting::elbo, *schedule, torch::zeros({2, 3}),
                         uniform_times(*schedule, doubles({0.1, 0.2})), torch::zeros({2, 3}));
      },
      "network output: shapes (2, 3) and (2, 1)");
}

}  // namespace
}  // namespace scorenet::diffusion
