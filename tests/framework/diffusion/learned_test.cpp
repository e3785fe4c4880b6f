// What is learned beside the network: the schedule, an uncertainty, the reverse variance, the
// distribution of steps.
#include <torch/autograd.h>
#include <torch/optim/adam.h>

#include "framework/diffusion/learned_schedule.hpp"
#include "framework/diffusion/learned_weights.hpp"
#include "framework/diffusion/likelihood/diffusion_term.hpp"
#include "framework/diffusion/loss.hpp"
#include "framework/diffusion/loss_history.hpp"
#include "framework/diffusion/second_order.hpp"
#include "framework/diffusion/tweedie.hpp"
#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using test::doubles;
using test::expect_close;
using test::expect_error;
using test::gaussian;
using test::schedule_named;

torch::Tensor normals(uint64_t seed, int64_t n, int64_t d) {
  return normal_for_slots({seed, RandomStream::synthetic_data, 0}, slot_range(0, n), {d},
                          torch::kFloat64);
}

// A schedule whose network has been kicked about.
std::shared_ptr<MonotoneGamma> disturbed(int64_t hidden) {
  auto net = std::make_shared<MonotoneGamma>(-13.3, 5.0, hidden);
  net->to(torch::kFloat64);
  torch::NoGradGuard no_grad;
  uint64_t seed = 0;
  for (auto& p : net->parameters()) p.add_(3.0 * normals(++seed, p.size(0), 1).squeeze(1));
  return net;
}

TEST(LearnedSchedule, EndPointsAreExactAndGammaRisesWhateverTheParameters) {
  for (const int64_t hidden : {1, 64, 1024}) {
    const auto net = disturbed(hidden);
    const auto t = torch::linspace(0, 1, 201, torch::kFloat64);
    const auto value = net->forward(t);
    EXPECT_EQ(value.gamma[0].item<double>(), -13.3);
    EXPECT_EQ(value.gamma[200].item<double>(), 5.0);
    EXPECT_TRUE((value.gamma.diff() > 0).all().item<bool>());
    // The slope against central differences: error O(h^2) gamma''' / 6, about 1e-7 here.
    const auto inside = t.slice(0, 1, 200);
    const double h = 1e-6;
    const auto slope = (net->forward(inside + h).gamma - net->forward(inside - h).gamma) / (2 * h);
    expect_close(value.slope.slice(0, 1, 200).detach(), slope.detach(), 1e-5);
  }
}

TEST(LearnedSchedule, ItStartsNearlyStraight) {
  MonotoneGamma net(-13.3, 5.0);
  const auto slope = net.forward(torch::linspace(0, 1, 50, torch::kFloat64)).slope;
  EXPECT_LT((slope / 18.3 - 1).abs().max().item<double>(), 0.1);
}

TEST(LearnedSchedule, TheBoundDoesNotDependOnTheInside) {
  // The continuous diffusion term knows the two ends alone.
  const auto denoiser = make_mixture_denoiser(gaussian({0.4}, {0.6}), {1.2, {}, {}});
  const auto x0 = doubles({-0.3, 1.5}).unsqueeze(1);
  const LearnedSchedule learned(disturbed(64), 0, 1);
  const auto straight = exact_diffusion_term(denoiser, *schedule_named("vdm_linear"), x0).nats;
  expect_close(exact_diffusion_term(denoiser, learned, x0).nats / straight,
               torch::ones({2}, torch::kFloat64), 1e-8);
}

struct Problem {
  TimeSample times;
  torch::Tensor x0, eps;
};
Problem problem(const Schedule& schedule, int64_t n, uint64_t seed) {
  const auto u = independent_positions({seed, RandomStream::training_time, 0}, slot_range(0, n));
  return {uniform_times(schedule, u), normals(seed + 100, n, 1), normals(seed + 200, n, 1)};
}

// eps_hat for unit data, times w: sigma x_t is exact.
Network scaled_exact(const torch::Tensor& w) {
  return [w](const torch::Tensor& x, const torch::Tensor& log_snr) {
    return w * torch::sigmoid(-log_snr).sqrt().unsqueeze(1) * x;
  };
}

TEST(LearnedSchedule, TheTappedLossIsTheElboLoss) {
  const LearnedSchedule schedule(disturbed(16), 0, 1);
  const auto [times, x0, eps] = problem(schedule, 6, 1);
  const auto network = scaled_exact(doubles({0.8}));
  const Parametrisation p{Prediction::eps, 0.5};
  expect_close(tapped_loss_per_example(network, p, {schedule, times}, x0, eps).detach(),
               loss_per_example(network, p, Weighting::elbo, schedule, x0, times, eps), 1e-12);
}

TEST(LearnedSchedule, TheScheduleFollowsTheSecondMomentAndTheNetworkTheMean) {
  const auto net = disturbed(4);
  const LearnedSchedule schedule(net, 0, 1);
  const auto [times, x0, eps] = problem(schedule, 32, 2);
  const Parametrisation p{Prediction::eps, 0.5};
  const auto w = doubles({0.8}).requires_grad_();
  const auto second_moment = [&] {
    return tapped_loss_per_example(scaled_exact(w), p, {schedule, times}, x0, eps)
        .square()
        .mean()
        .item<double>();
  };
  const ScheduleTap tap(schedule, times);
  const auto loss = tapped_loss_per_example(scaled_exact(w), p, tap, x0, eps);
  loss.mean().backward();
  const auto plain =
      loss_per_example(scaled_exact(w), p, Weighting::elbo, schedule, x0, times, eps);
  EXPECT_NEAR(
      w.grad().item<double>() / torch::autograd::grad({plain.mean()}, {w})[0].item<double>(), 1,
      1e-11);
  expect_error<ShapeError>([&] { tap.scale_inside(loss.slice(0, 1)); }, "(31)");
  for (auto& parameter : net->parameters()) {
    const double h = 1e-5;
    torch::NoGradGuard no_grad;
    parameter[0] += h;
    const double above = second_moment();
    parameter[0] -= 2 * h;
    const double below = second_moment();
    parameter[0] += h;
    const double slope = (above - below) / (2 * h);
    EXPECT_NEAR(parameter.grad()[0].item<double>(), slope, 1e-5 * (1 + std::abs(slope)));
  }
}

TEST(LearnedSchedule, TrainingItLowersTheVarianceAndLeavesTheMeanAndTheEnds) {
  // Unit data, exact denoiser: mean square error sigmoid(log_snr) chi^2_1, so E[L^2] = 3/4 int
  // (gamma' sigmoid)^2 dt. A straight line gives 3/4 18.3 int sigmoid^2 dl = 3/4 18.3
  // (13.3 - 1) = 169; the best, gamma' sigmoid constant, 3/4 (13.3)^2 = 133.
  auto net = std::make_shared<MonotoneGamma>(-13.3, 5.0, 64);
  const LearnedSchedule schedule(net, 0, 1);
  const Parametrisation p{Prediction::eps, 0.5};
  const auto network = scaled_exact(doubles({1.0}));
  const auto moments = [&](const Schedule& s) {
    // E[L] and E[L^2] by quadrature over t: L = gamma' / 2 sigmoid chi^2.
    const auto t = (torch::arange(2000, torch::kFloat64) + 0.5) / 2000;
    const auto rate = -0.5 * s.d_log_snr(t) * torch::sigmoid(s.log_snr(t));
    return std::pair{rate.mean().item<double>(), 3 * rate.square().mean().item<double>()};
  };
  const auto [mean_before, square_before] = moments(*schedule_named("vdm_linear"));
  EXPECT_NEAR(square_before, 169, 1);
  torch::optim::Adam optimiser(net->parameters(), torch::optim::AdamOptions(0.03));
  for (uint64_t step = 0; step < 200; ++step) {
    const auto [times, x0, eps] = problem(schedule, 256, 10 + step);
    const ScheduleTap tap(schedule, times);
    const auto loss = tapped_loss_per_example(network, p, tap, x0, eps);
    optimiser.zero_grad();
    loss.mean().backward();
    optimiser.step();
  }
  const auto [mean_after, square_after] = moments(schedule);
  EXPECT_LT(square_after, 150);
  EXPECT_GT(square_after, 132.9);
  EXPECT_NEAR(mean_after / mean_before, 1, 1e-4);
  EXPECT_EQ(schedule.log_snr(doubles({0.0})).item<double>(), 13.3);
  EXPECT_EQ(schedule.log_snr(doubles({1.0})).item<double>(), -5.0);
}

// Unit data, its exact denoiser, x0 = 0 and eps = 1: eps - eps_hat = alpha^2, so with
// c(g) = sigmoid(-g) = alpha^2 the bound is
//     1/2 int_{g0}^{g1} c(g)^2 dg + 1/2 (s - 1 - log s) + 1/2 (log 2 pi e + g0),  s = 1 - c(g1)
// (flat decoder),
// d/dg0 = (1 - c(g0)^2) / 2,  d/dg1 = c(g1)^2 / 2 + 1/2 s' (1 - 1/s) = 0 since s' = s c(g1).
TEST(LearnedSchedule, LearnedEndsFollowTheBoundWhileTheInsideFollowsItsVariance) {
  const double g0 = -2, g1 = 1.5;
  auto net = std::make_shared<MonotoneGamma>(g0, g1, 8, true);
  net->to(torch::kFloat64);
  const LearnedSchedule schedule(net, 0, 1);
  // eps^2 = 1 for every example, and times on a fine midpoint grid: the mean over examples
  // is the integral.
  const int64_t n = 4000;
  const auto u = (torch::arange(n, torch::kFloat64) + 0.5) / n;
  const auto x0 = torch::zeros({n, 1}, torch::kFloat64), eps = torch::ones({n, 1}, torch::kFloat64);
  const ScheduleTap tap(schedule, uniform_times(schedule, u));
  const auto loss = tapped_loss_per_example(scaled_exact(doubles({1.0})), {}, tap, x0, eps);
  (loss + end_terms_nats(schedule, 0, x0, eps)).mean().backward();
  const auto clean = [](double g) { return 1 / (1 + std::exp(g)); };  // alpha^2
  // ends = (e_0, e_1): gamma_0 = g0 + e_0, gamma_1 = gamma_0 + (g1 - g0) exp(e_1), so e_0 moves
  // both ends. The network sees log_snr and is right at every level, so its gradient in gamma is
  // part of the integrand's.
  const auto gradient = net->named_parameters()["ends"].grad();
  const double d0 = 0.5 * (1 - std::pow(clean(g0), 2)), d1 = 0.0;
  EXPECT_NEAR(gradient[0].item<double>(), d0 + d1, 1e-4);
  EXPECT_NEAR(gradient[1].item<double>(), (g1 - g0) * d1, 1e-4);
  // The inside has the gradient of mean L^2 (dims = 1), which the end terms do not enter.
  const auto second_moment = [&] {
    const ScheduleTap other(schedule, uniform_times(schedule, u));
    return tapped_loss_per_example(scaled_exact(doubles({1.0})), {}, other, x0, eps)
        .square()
        .mean()
        .item<double>();
  };
  auto steep = net->named_parameters()["steep"];
  torch::NoGradGuard no_grad;
  steep[0] += 1e-5;
  const double above = second_moment();
  steep[0] -= 2e-5;
  EXPECT_NEAR(steep.grad()[0].item<double>(), (above - second_moment()) / 2e-5, 1e-7);
}

// One dimension, unit data: the probed trace is exact, and v_hat = E[v | x_t] = 0 for every x_t
// (v = alpha eps - sigma x0 and x_t are uncorrelated), so sigma div v_hat = 0 = alpha (1 - E|v|^2).
// A network c x_t has v_hat' = c, and E|v - c x|^2 = 1 + c^2, so the mean of the error has
// derivative 2 c, and that of [sigma c - alpha (1 - |v - c x|^2)]^2, the second square held fixed,
// 2 sigma (sigma c + alpha c^2).
TEST(SecondOrder, TeachesTheDivergenceOfThePosteriorMean) {
  const auto schedule = schedule_named("vdm_linear");
  const int64_t n = 200'000;
  const auto x0 = normals(1, n, 1), eps = normals(2, n, 1);
  const auto t = torch::full({n}, 0.7, torch::kFloat64);
  const NoiseLevel level = schedule->at(0.7, 1);
  const double alpha = level.alpha.item<double>(), sigma = level.sigma.item<double>();
  for (const double value : {0.0, 0.1}) {
    const auto c = doubles({value}).requires_grad_();
    const Network network = [&](const torch::Tensor& x, const torch::Tensor&) { return c * x; };
    const auto gradient = [&](double weight) {
      const auto loss =
          second_order_error(network, *schedule, x0, t, eps, torch::ones_like(x0), weight);
      return torch::autograd::grad({loss.mean()}, {c})[0].item<double>();
    };
    const double first = gradient(0), second = gradient(1) - first;
    EXPECT_NEAR(first, 2 * value, 4 * 2 * 1.1 / std::sqrt(double(n)));
    // Standard deviation of alpha |v - c x|^2, a scaled chi^2_1: alpha sqrt(2) (1 + c^2).
    EXPECT_NEAR(second, 2 * sigma * (sigma * value + alpha * value * value),
                4 * 2 * sigma * alpha * 1.5 / std::sqrt(double(n)));
  }
  expect_error<ShapeError>(
      [&] {
        second_order_error(scaled_exact(doubles({1})), *schedule, x0, t, eps, x0.slice(0, 1), 1);
      },
      "(199999, 1)");
}

TEST(UncertaintyWeight, ItStartsNeutralAndIsLeastWhereItIsTheLogOfTheLoss) {
  UncertaintyWeight weight(16);
  const auto loss = doubles({0.3, 5.0}), log_snr = doubles({-2.0, 4.0});
  expect_close(weight.weigh(loss, log_snr).detach(), loss, 0);
  // Two levels, two free features: descend to u = log L, where L / e^u + u = 1 + log L.
  torch::optim::Adam optimiser(weight.parameters(), torch::optim::AdamOptions(0.05));
  for (int step = 0; step < 400; ++step) {
    optimiser.zero_grad();
    weight.weigh(loss, log_snr).sum().backward();
    optimiser.step();
  }
  expect_close(weight.forward(log_snr).detach(), loss.log(), 1e-3);
  expect_close(weight.weigh(loss, log_snr).detach(), 1 + loss.log(), 1e-5);
  expect_error<ConfigError>([] { UncertaintyWeight none(0); }, "0 features");
}

TEST(LearnedVariance, WithThePosteriorsOwnVarianceItIsThePlainStep) {
  // raw = -1: v = beta_tilde and the KL is the weight of the T-step bound on |eps - eps_hat|^2.
  const auto schedule = schedule_named("vp_cosine");
  const auto eps = normals(1, 4, 3), eps_hat = normals(2, 4, 3);
  const auto step = torch::tensor({1, 2, 9, 10}, torch::kInt64);
  const auto grid = step_times(*schedule, 10);
  const ReverseStep times = reverse_step(grid, step);
  const auto kl =
      learned_variance_step_nats(*schedule, times, eps, eps_hat, -torch::ones_like(eps));
  const auto expected =
      step_weight({Prediction::eps, 0.5}, *schedule, times) * (eps - eps_hat).square().sum(1);
  expect_close(kl / expected, torch::ones({4}, torch::kFloat64), 1e-12);
}

TEST(LearnedVariance, OtherwiseItIsTheKlOfTwoGaussians) {
  // raw = 1: v = beta = sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2, beta_tilde = beta
  // sigma_s^2 / sigma_t^2, and the gap of the means is beta / (sigma_t alpha_t / alpha_s)
  // (eps - eps_hat).
  const auto schedule = schedule_named("vp_linear");
  const ReverseStep times{doubles({0.3}), doubles({0.5})};
  const NoiseLevel s = schedule->at(times.s), t = schedule->at(times.t);
  const double as = s.alpha.item<double>(), ss = s.sigma.item<double>(),
               at = t.alpha.item<double>(), st = t.sigma.item<double>();
  const double step_alpha = at / as, beta = st * st - step_alpha * step_alpha * ss * ss;
  const double tilde = beta * ss * ss / (st * st), gap = beta / (st * step_alpha) * (0.7 - 0.2);
  const auto kl =
      learned_variance_step_nats(*schedule, times, doubles({0.7}).unsqueeze(1),
                                 doubles({0.2}).unsqueeze(1), torch::ones({1, 1}, torch::kFloat64));
  EXPECT_NEAR(kl.item<double>(),
              0.5 * (std::log(beta / tilde) + tilde / beta - 1) + gap * gap / (2 * beta), 1e-12);
}

TEST(LearnedVariance, TheHybridLossTeachesTheMeanBySimpleAlone) {
  const auto schedule = schedule_named("vp_linear");
  const auto x0 = normals(2, 2, 2), eps = normals(3, 2, 2);
  const auto said = normals(4, 2, 2).requires_grad_(), raw = normals(5, 2, 2).requires_grad_();
  const Network network = [&](const torch::Tensor&, const torch::Tensor&) {
    return torch::cat({said, raw}, 1);
  };
  const auto step = torch::tensor({1, 5}, torch::kInt64);
  const auto grid = step_times(*schedule, 10);
  const ReverseStep times = reverse_step(grid, step);
  for (const Prediction prediction : {Prediction::eps, Prediction::v}) {
    const Parametrisation p{prediction, 0.5, true};
    const auto loss = hybrid_loss_per_example(network, p, *schedule, 10, x0, times, eps);
    const auto gradients = torch::autograd::grad({loss.sum()}, {said, raw});
    const NoiseLevel level = schedule->at(times.t);
    const auto target = target_from(p, x0, eps, level);
    expect_close(gradients[0], (2 * (said - target)).detach(), 1e-14);
    EXPECT_TRUE((gradients[1] != 0).all().item<bool>());
    // 0.001 T KL on top.
    const auto eps_hat = denoised_from(p, said, add_noise(x0, eps, level), level).eps;
    const auto kl = learned_variance_step_nats(*schedule, times, eps, eps_hat, raw);
    expect_close(loss.detach(), ((said - target).square().sum(1) + 0.01 * kl).detach(), 1e-12);
  }
  expect_error<ShapeError>(
      [&] { hybrid_loss_per_example(network, {}, *schedule, 10, x0.slice(1, 0, 1), times, eps); },
      "(2, 1)");
}

TEST(LossHistory, StepsAreUniformUntilEachHasTenAndThenFollowTheRootOfTheirSecondMoment) {
  auto history = make_loss_history(3);
  const auto all = torch::tensor({1, 2, 3}, torch::kInt64);
  for (int i = 0; i < 9; ++i) record_losses(history, all, doubles({1, 1, 1}));
  record_losses(history, all.slice(0, 0, 2), doubles({7, 7}));
  EXPECT_TRUE(
      torch::equal(step_probabilities(history), torch::full({3}, 1.0 / 3, torch::kFloat64)));
  // The ring keeps the last ten: sqrt of the mean squares 3, 4, and
  // sqrt((5 * 1 + 5 * 49) / 10) = 5.
  for (int i = 0; i < 12; ++i) record_losses(history, all, doubles({3, 4, i % 2 ? 1.0 : 7.0}));
  expect_close(step_probabilities(history), 0.999 * doubles({3, 4, 5}) / 12 + 0.001 / 3, 1e-15);
  expect_error<ConfigError>([] { make_loss_history(0); }, "T = 0");
  expect_error<ShapeError>([&] { record_losses(history, all, doubles({1})); }, "(3)");
}

TEST(LossHistory, TheWeightKeepsTheMeanUnbiased) {
  auto history = make_loss_history(4);
  for (int i = 0; i < 10; ++i) record_losses(history, torch::arange(1, 5), doubles({1, 2, 3, 10}));
  // 10^5 equally spaced positions: E[weight f(step)] = 1/4 sum f up to the rounding of each step's
  // share to 1e-5.
  const auto draw = draw_steps(history, (torch::arange(100'000, torch::kFloat64) + 0.5) / 1e5);
  const auto f = doubles({5, -1, 2, 8}).index_select(0, draw.step - 1);
  EXPECT_NEAR((draw.weight * f).mean().item<double>(), 14.0 / 4, 1e-3);
  EXPECT_EQ(draw.step.min().item<int64_t>(), 1);
  EXPECT_EQ(draw.step.max().item<int64_t>(), 4);
}

TEST(Tweedie, BothProductsAreTheExactPosteriorCovariance) {
  const auto c =
      torch::stack({torch::diag(doubles({1, 0.2, 0.5})), 0.1 * torch::eye(3, torch::kFloat64)});
  const auto law = std::make_shared<GaussianMixture>(
      doubles({0.4, 0.6}), doubles({1, 0, -1, 0, 0.5, 0.3}).view({2, 3}), c);
  const auto x = normals(6, 5, 3), v = normals(7, 5, 3);
  const NoiseLevel level = schedule_named("vp_linear")->at(0.3, 5);
  const auto expected = torch::einsum("bij,bj->bi", {law->posterior_covariance(x, level), v});
  const auto denoiser = make_mixture_denoiser(law);
  expect_close(posterior_covariance_vjp(denoiser, x, level, v), expected, 1e-12);
  expect_close(posterior_covariance_jvp(denoiser, x, level, v), expected, 1e-12);
  expect_close(posterior_mean(denoiser, x, level), law->denoise(x, level).x0, 0);
}

TEST(Tweedie, ForAScoreThatIsNoGradientTheyDifferByItsRotation) {
  // s + A x adds sigma^2 / alpha A to J: J v - J^T v = (sigma^2 / alpha)^2 (A - A^T) v.
  const auto a = doubles({0, 1, 0, 0}).view({2, 2});
  const auto denoiser = make_mixture_denoiser(gaussian({0, 0}, {1, 1}), {1.0, a, {}});
  const auto x = normals(8, 1, 2), v = doubles({2, 3}).view({1, 2});
  const NoiseLevel level = schedule_named("ve")->at(0.7, 1);
  const double scale = std::pow(level.sigma.item<double>(), 4);
  const auto difference = posterior_covariance_jvp(denoiser, x, level, v) -
                          posterior_covariance_vjp(denoiser, x, level, v);
  expect_close(difference / scale, doubles({3, -2}).view({1, 2}), 1e-10);
  expect_error<ShapeError>([&] { posterior_covariance_vjp(denoiser, x, level, v.slice(1, 1)); },
                           "(1, 1)");
  expect_error<ShapeError>([&] { posterior_covariance_jvp(denoiser, x, level, v.slice(1, 1)); },
                           "(1, 1)");
}

TEST(LearnedSchedule, ErrorsNameTheOffendingValue) {
  expect_error<ConfigError>([] { MonotoneGamma net(1, 1); }, "gamma_max = 1");
  expect_error<ConfigError>([] { MonotoneGamma net(0, 1, 0); }, "hidden = 0");
}

}  // namespace
}  // namespace scorenet::diffusion
