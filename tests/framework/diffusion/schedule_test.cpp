// Each schedule against its formula of the paper in plain doubles, its derivatives against
// differences, its inverse.
#include "framework/diffusion/schedule.hpp"

#include <functional>
#include <map>
#include <numbers>

#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using test::doubles;
using test::expect_close;
using test::expect_error;
using test::schedule_named;
using test::times_over_range;

struct Formula {
  std::function<double(double)> alpha, sigma, g_squared;
};

constexpr double kPi = std::numbers::pi;
double linear_integral(double t) { return 0.1 * t + 19.9 * t * t / 2; }
double linear_beta(double t) { return 0.1 + 19.9 * t; }

// The papers' own formulas, good away from the ends. g^2 of the gamma schedules: sigma^2 d
// gamma / dt.
std::map<std::string, Formula> formulas() {
  const auto vp = [](std::function<double(double)> integral, std::function<double(double)> beta) {
    return Formula{[=](double t) { return std::exp(-integral(t) / 2); },
                   [=](double t) { return std::sqrt(1 - std::exp(-integral(t))); }, beta};
  };
  const auto cosine = [](double o) {
    const double k = kPi / 2 / (1 + o);
    const auto alpha = [=](double t) { return std::cos(k * (t + o)) / std::cos(k * o); };
    // g^2 = d sigma^2 / dt - 2 f sigma^2 with sigma^2 = 1 - alpha^2 is -2 f = 2 k tan(k (t + o)).
    return Formula{alpha, [=](double t) { return std::sqrt(1 - alpha(t) * alpha(t)); },
                   [=](double t) { return 2 * k * std::tan(k * (t + o)); }};
  };
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  const auto gamma = [](double t) { return -13.3 + 18.3 * t; };
  std::map<std::string, Formula> f;
  f["vp_linear"] = vp(linear_integral, linear_beta);
  f["vp_constant"] = vp([](double t) { return 20 * t; }, [](double) { return 20.0; });
  f["vp_ramp"] = vp([](double t) { return 10 * t * t; }, [](double t) { return 20 * t; });
  f["subvp"] = {[](double t) { return std::exp(-linear_integral(t) / 2); },
                [](double t) { return 1 - std::exp(-linear_integral(t)); },
                [](double t) { return linear_beta(t) * (1 - std::exp(-2 * linear_integral(t))); }};
  f["vp_cosine"] = cosine(0.008);
  f["vp_tan"] = cosine(0.0);
  f["vdm_linear"] = {[=](double t) { return std::sqrt(sigmoid(-gamma(t))); },
                     [=](double t) { return std::sqrt(sigmoid(gamma(t))); },
                     [=](double t) { return sigmoid(gamma(t)) * 18.3; }};
  const auto ve_sigma = [](double t) { return 0.002 * std::pow(80 / 0.002, t); };
  f["ve"] = {[](double) { return 1.0; }, ve_sigma,
             [=](double t) { return 2 * ve_sigma(t) * ve_sigma(t) * std::log(80 / 0.002); }};
  f["edm"] = {[](double) { return 1.0; }, [](double t) { return t; },
              [](double t) { return 2 * t; }};
  // f = -1 / (1 - t), so g^2 = d t^2 / dt + 2 t^2 / (1 - t) = 2 t / (1 - t).
  f["flow"] = {[](double t) { return 1 - t; }, [](double t) { return t; },
               [](double t) { return 2 * t / (1 - t); }};
  return f;
}

TEST(Schedule, EveryScheduleHasThePapersAlphaSigmaAndDiffusion) {
  const auto known = formulas();
  ASSERT_EQ(known.size() + 1, schedule_names().size());  // all but vdm_learned
  for (const auto& [name, formula] : known) {
    const auto schedule = schedule_named(name);
    const double length = schedule->t_max() - schedule->t_min();
    for (const double part : {0.1, 0.35, 0.5, 0.8, 0.97}) {
      const double t = schedule->t_min() + part * length;
      const NoiseLevel level = schedule->at(t, 2);
      const double alpha = formula.alpha(t), sigma = formula.sigma(t);
      // The plain formulas themselves lose about four digits (1 - exp(-x) and 1 - alpha^2).
      EXPECT_NEAR(level.alpha[1].item<double>() / alpha, 1, 1e-12) << name << " t = " << t;
      EXPECT_NEAR(level.sigma[1].item<double>() / sigma, 1, 1e-12) << name << " t = " << t;
      EXPECT_NEAR(level.log_snr[1].item<double>(), 2 * std::log(alpha / sigma), 1e-11) << name;
      EXPECT_NEAR(schedule->g_squared(doubles({t})).item<double>() / formula.g_squared(t), 1, 1e-11)
          << name << " t = " << t;
    }
  }
}

TEST(Schedule, DerivativesAreTheLimitsOfDifferences) {
  for (const std::string& name : schedule_names()) {
    const auto schedule = schedule_named(name);
    const auto t = times_over_range(*schedule, 41).slice(0, 1, 40);
    // Central differences with a step relative to the distance from the singular
    // ends: error O(1e-10).
    const auto step = 1e-5 * torch::minimum(t, schedule->t_max() - t + 1e-4);
    const auto slope = [&](const auto& f) { return (f(t + step) - f(t - step)) / (2 * step); };
    const auto d_log_snr = schedule->d_log_snr(t);
    const auto snr_slope = slope([&](const torch::Tensor& s) { return schedule->log_snr(s); });
    expect_close(snr_slope / d_log_snr, torch::ones_like(t), 1e-6, name);
    EXPECT_TRUE((d_log_snr < 0).all().item<bool>()) << name;
    const auto alpha_slope = slope([&](const torch::Tensor& s) { return schedule->log_alpha(s); });
    expect_close(alpha_slope, schedule->d_log_alpha(t), 1e-6, name);
  }
}

TEST(Schedule, TimeOfInvertsLogSnrAndAgreesWithBisection) {
  for (const std::string& name : schedule_names()) {
    const auto schedule = schedule_named(name);
    const double first = schedule->log_snr(doubles({schedule->t_min()})).item<double>();
    const double last = schedule->log_snr(doubles({schedule->t_max()})).item<double>();
    const auto wanted = torch::linspace(first, last, 101, torch::kFloat64);
    // Differences of t's own rounding, magnified by |d log_snr / dt| <= 1e5 eps at the ends.
    expect_close(schedule->log_snr(schedule->time_of(wanted)), wanted, 2e-12, name);
    const auto bisected = schedule->Schedule::time_of(wanted);
    expect_close(schedule->log_snr(bisected), wanted, 1e-10, name);
  }
}

TEST(Schedule, VariancePreservingSchedulesKeepUnitVariance) {
  for (const char* name : {"vp_linear", "vp_cosine", "vdm_linear", "vdm_learned", "vp_constant",
                           "vp_ramp", "vp_tan"}) {
    const auto schedule = schedule_named(name);
    const NoiseLevel level = schedule->at(times_over_range(*schedule, 50));
    expect_close(level.alpha.square() + level.sigma.square(), torch::ones({50}, torch::kFloat64),
                 5e-15, name);
  }
}

TEST(Schedule, NoDigitsAreLostNearTheDataOrNearTheNoise) {
  // vp_linear: log_snr = -log(expm1(B)) = -log B - B / 2 + O(B^2), B = 1e-9 + 9.95e-16 at t = 1e-8.
  ScheduleOptions options;
  options.t_min = 1e-8;
  const double integral = 1e-9 + 9.95e-16;
  EXPECT_NEAR(make_schedule(options)->log_snr(doubles({1e-8})).item<double>(),
              -std::log(integral) - integral / 2, 1e-14);
  // vp_tan at 1 - 2^-20: alpha = sin(pi 2^-21), whose logarithm the plain cosine would know
  // to 10 digits.
  options.name = "vp_tan";
  options.t_max = 1 - std::exp2(-20);
  EXPECT_NEAR(make_schedule(options)->log_alpha(doubles({options.t_max})).item<double>(),
              std::log(std::sin(kPi * std::exp2(-21))), 1e-14);
  // vp_cosine at t = 1e-9: sigma^2 = sin(k t) sin(k (t + 0.016)) / cos^2(0.008 k).
  options = {};
  options.name = "vp_cosine";
  options.t_min = 1e-9;
  const double k = kPi / 2 / 1.008;
  const double sigma2 =
      std::sin(k * 1e-9) * std::sin(k * (1e-9 + 0.016)) / std::pow(std::cos(k * 0.008), 2);
  EXPECT_NEAR(make_schedule(options)->at(1e-9, 1).sigma.item<double>() / std::sqrt(sigma2), 1,
              1e-14);
}

TEST(Schedule, EverythingIsFiniteAtBothDefaultEnds) {
  for (const std::string& name : schedule_names()) {
    const auto schedule = schedule_named(name);
    const auto ends = doubles({schedule->t_min(), schedule->t_max()});
    const NoiseLevel level = schedule->at(ends);
    for (const auto& value : {level.alpha, level.sigma, level.log_snr, schedule->g_squared(ends)}) {
      EXPECT_TRUE(torch::isfinite(value).all().item<bool>()) << name;
    }
  }
}

TEST(Schedule, ThePriorHasTheVarianceTheScheduleEndsWith) {
  EXPECT_EQ(schedule_named("ve")->prior_variance(), 6400);
  EXPECT_EQ(schedule_named("edm")->prior_variance(), 6400);
  EXPECT_EQ(schedule_named("vp_linear")->prior_variance(), 1);
  EXPECT_EQ(schedule_named("flow")->prior_variance(), 1);
  EXPECT_EQ(schedule_named("edm")->t_min(), 0.002);
  EXPECT_EQ(schedule_named("edm")->t_max(), 80);
}

TEST(Schedule, ErrorsNameTheKeyAndTheValue) {
  const auto rejects = [](const std::string& name, auto change, const std::string& part) {
    ScheduleOptions options;
    options.name = name;
    change(options);
    expect_error<ConfigError>([&] { make_schedule(options); }, part);
  };
  const auto nothing = [](ScheduleOptions&) {};
  rejects("vp_liner", nothing, "\"vp_liner\": expected one of vp_linear vp_cosine");
  rejects("vp_linear", [](auto& o) { o.beta_min = -1; }, "diffusion.beta_min = -1");
  rejects("subvp", [](auto& o) { o.beta_max = 0.01; }, "diffusion.beta_max = 0.01");
  rejects("vp_ramp", [](auto& o) { o.beta = 0; }, "diffusion.beta = 0");
  rejects("vdm_linear", [](auto& o) { o.gamma_min = 6; }, "diffusion.gamma_min = 6");
  rejects("ve", [](auto& o) { o.sigma_min = 0; }, "diffusion.sigma_min = 0");
  rejects("edm", [](auto& o) { o.sigma_max = 0.001; }, "diffusion.sigma_max = 0.001");
  rejects("edm", [](auto& o) { o.t_min = -0.5; }, "diffusion.t_min = -0.5");
  rejects("vp_tan", [](auto& o) { o.t_max = 1; }, "diffusion.t_max = 1");
  rejects("vp_linear", [](auto& o) { o.t_min = 0; }, "diffusion.t_min = 0");
  rejects("vdm_linear", [](auto& o) { o.t_max = 1.5; }, "diffusion.t_max = 1.5");
  rejects("vdm_linear", [](auto& o) { o.t_min = 0.7, o.t_max = 0.3; }, "0.7");
}

}  // namespace
}  // namespace scorenet::diffusion
