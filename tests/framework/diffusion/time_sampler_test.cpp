// Times: the same on any number of ranks, stratified over the global batch, with the
// density they claim.
#include "framework/diffusion/time_sampler.hpp"

#include <numbers>
#include <set>

#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using test::doubles;
using test::expect_close;
using test::expect_error;
using test::schedule_named;

const RandomKey kKey{11, RandomStream::training_noise, 5};

TEST(TimeSampler, StratifiedPositionsHoldOneDrawInEachStratumOfTheGlobalBatch) {
  // u_i = (u0 + i / B) mod 1: B u_i - B u0 are the integers 0..B-1 mod B, so each [j,
  // j + 1) / B holds one.
  const auto u = stratified_positions(kKey, slot_range(320, 32), 32);
  std::set<int64_t> strata;
  for (int64_t i = 0; i < 32; ++i) strata.insert(static_cast<int64_t>(32 * u[i].item<double>()));
  EXPECT_EQ(strata.size(), 32u);
  EXPECT_GE(u.min().item<double>(), 0);
  EXPECT_LT(u.max().item<double>(), 1);
}

TEST(TimeSampler, PositionsDependOnTheSlotAndNotOnTheSplitOverRanks) {
  const auto whole = stratified_positions(kKey, slot_range(0, 12), 12);
  const auto whole_independent = independent_positions(kKey, slot_range(0, 12));
  for (const int64_t ranks : {2, 3, 4}) {
    std::vector<torch::Tensor> parts, independent;
    for (int64_t r = 0; r < ranks; ++r) {
      const auto slots = slot_range(r * 12 / ranks, 12 / ranks);
      parts.push_back(stratified_positions(kKey, slots, 12));
      independent.push_back(independent_positions(kKey, slots));
    }
    EXPECT_TRUE(torch::equal(torch::cat(parts), whole));
    EXPECT_TRUE(torch::equal(torch::cat(independent), whole_independent));
  }
  EXPECT_FALSE(torch::equal(
      whole, stratified_positions({11, RandomStream::training_noise, 6}, slot_range(0, 12), 12)));
}

TEST(TimeSampler, TheSlopeOfTheMapIsTheInverseDensity) {
  // t = P^{-1}(u), so dt / du = 1 / p(t).
  const auto u = torch::linspace(0.02, 0.98, 25, torch::kFloat64);
  const double h = 1e-5;
  for (const std::string& name : schedule_names()) {
    const auto schedule = schedule_named(name);
    const auto check = [&](const auto& map, const std::string& rule) {
      const auto slope = (map(u + h).t - map(u - h).t) / (2 * h);
      expect_close(slope / map(u).inverse_density, torch::ones_like(u), 1e-5, name + " " + rule);
    };
    check([&](const torch::Tensor& p) { return uniform_times(*schedule, p); }, "uniform");
    check([&](const torch::Tensor& p) { return log_snr_times(*schedule, p); }, "log_snr");
    check([&](const torch::Tensor& p) { return log_normal_times(*schedule, p); }, "log_normal");
    check([&](const torch::Tensor& p) { return v_importance_times(*schedule, p); }, "v_importance");
  }
}

TEST(TimeSampler, PositionsFromZeroToOneReachFromTMinToTMax) {
  const auto ends = doubles({0.0, 1.0});
  for (const std::string& name : schedule_names()) {
    const auto schedule = schedule_named(name);
    const auto expected = doubles({schedule->t_min(), schedule->t_max()});
    expect_close(uniform_times(*schedule, ends).t, expected, 1e-14, name);
    expect_close(log_snr_times(*schedule, ends).t, expected, 1e-10, name);
    expect_close(log_normal_times(*schedule, ends).t, expected, 1e-6, name);
    expect_close(v_importance_times(*schedule, ends).t, expected, 1e-9, name);
  }
}

TEST(TimeSampler, ImportanceIsUniformInLogSnr) {
  // vp_linear in closed form: gamma = gamma_0 + u Z, B = softplus(gamma), t = 2
  // B / (b0 + sqrt(b0^2 + 2 (b1 - b0) B)).
  const auto schedule = schedule_named("vp_linear");
  const auto integral = [](double t) { return 0.1 * t + 9.95 * t * t; };
  const double gamma_0 = std::log(std::expm1(integral(1e-5))),
               gamma_1 = std::log(std::expm1(integral(1)));
  const double b = std::log1p(std::exp(gamma_0 + 0.3 * (gamma_1 - gamma_0)));
  EXPECT_NEAR(log_snr_times(*schedule, doubles({0.3})).t.item<double>(),
              2 * b / (0.1 + std::sqrt(0.01 + 2 * 19.9 * b)), 1e-14);
}

TEST(TimeSampler, ForVTheDensityIsIDodes) {
  // gamma = -log(e^{-Z u} (1 + e^{-g0}) - 1), Z = log[(1 + e^{-g0}) / (1 + e^{-g1})].
  const auto schedule = schedule_named("vdm_linear");
  const double z = std::log((1 + std::exp(13.3)) / (1 + std::exp(-5)));
  for (const double u : {0.1, 0.5, 0.95}) {
    const double gamma = -std::log(std::exp(-z * u) * (1 + std::exp(13.3)) - 1);
    EXPECT_NEAR(v_importance_times(*schedule, doubles({u})).t.item<double>(), (gamma + 13.3) / 18.3,
                1e-12)
        << u;
  }
}

TEST(TimeSampler, LogNormalHasEdmsMedianAndDeviation) {
  // P(log sigma < -1.2) = 1/2 and P(log sigma < -1.2 + 1.2) = Phi(1) = 0.8413447, up to the 2e-5
  // that [0.002, 80] cuts off.
  const auto times = log_normal_times(*schedule_named("edm"), doubles({0.5, 0.8413447}));
  EXPECT_NEAR(times.t[0].log().item<double>(), -1.2, 1e-4);
  EXPECT_NEAR(times.t[1].log().item<double>(), 0.0, 1e-4);
}

TEST(TimeSampler, OtherNumbersOfTheLogNormalLawMoveItsDensity) {
  // In the schedule edm, t is sigma: p(t) = N(log t; m, s^2) / t, of which [0.002, 80] cuts off
  // less than 1e-9.
  const auto schedule = schedule_named("edm");
  const double mean = 0.4, deviation = 0.6;
  const auto times =
      draw_times(TimeRule("log_normal", mean, deviation), *schedule, kKey, slot_range(0, 512), 512);
  const auto log_t = times.t.log();
  EXPECT_NEAR(log_t.mean().item<double>(), mean, 2e-3);
  EXPECT_NEAR(log_t.std().item<double>(), deviation, 1e-2);
  const auto z = (log_t - mean) / deviation;
  const auto density =
      (-0.5 * z.square()).exp() / (times.t * deviation * std::sqrt(2 * std::numbers::pi));
  EXPECT_LT((times.inverse_density * density - 1).abs().max().item<double>(), 1e-6);
  expect_error<ConfigError>(
      [&] { draw_times(TimeRule("log_normal", 40, 0.1), *schedule, kKey, {0}, 1); },
      "diffusion.P_mean = 40 with diffusion.P_std = 0.1: no time of the schedule");
}

TEST(TimeSampler, EveryRuleOfTheConfigDrawsTimesInRange) {
  const auto schedule = schedule_named("vdm_linear");
  for (const std::string& rule : time_sampling_names()) {
    const auto times = draw_times(rule, *schedule, kKey, slot_range(0, 16), 16);
    EXPECT_EQ(times.t.sizes(), (std::vector<int64_t>{16})) << rule;
    EXPECT_TRUE((times.inverse_density > 0).all().item<bool>()) << rule;
  }
  expect_error<ConfigError>([&] { draw_times("cosine", *schedule, kKey, {0}, 1); },
                            "\"cosine\": expected one of uniform stratified");
  expect_error<ConfigError>([&] { stratified_positions(kKey, {0}, 0); }, "global batch 0");
}

}  // namespace
}  // namespace scorenet::diffusion
