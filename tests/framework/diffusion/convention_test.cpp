// Each convention, on the exact denoiser of x0 ~ N(0, s^2): what a network of that family would
// return, by its own paper's formulas in its own variables, gives E[x0 | x] and E[eps | x].
#include "framework/diffusion/convention.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <functional>
#include <map>
#include <string>

#include "tests/support/expect_error.hpp"

namespace scorenet::diffusion {
namespace {

using torch::Tensor;

constexpr double kVariance = 0.3;  // of the data
constexpr double kSigmaData = 0.7;

using Net = std::function<Tensor(const Tensor& x, const Tensor& level)>;

Tensor column(const Tensor& level) { return level.reshape({-1, 1}); }

// E[eps | x] where x = alpha x0 + sigma eps.
Tensor eps_of(const Tensor& x, const Tensor& alpha, const Tensor& sigma) {
  return sigma * x / (alpha.square() * kVariance + sigma.square());
}
Tensor x0_of(const Tensor& x, const Tensor& alpha, const Tensor& sigma) {
  return alpha * kVariance * x / (alpha.square() * kVariance + sigma.square());
}

// The steps' own levels, between two of them linear in log-SNR.
Tensor log_snr_of(const Tensor& step, const DiscreteSteps& steps) {
  const Tensor table = torch::tensor(log_snr_of_steps(steps), torch::kFloat64);
  const Tensor low = step.floor().clamp_max(static_cast<double>(steps.steps - 2)).to(torch::kInt64);
  const Tensor share = step - low;
  return table.index_select(0, low) * (1 - share) + table.index_select(0, low + 1) * share;
}

Net noise_of_step(const DiscreteSteps& steps) {
  return [steps](const Tensor& x, const Tensor& step) {
    const Tensor l = column(log_snr_of(step, steps));
    return eps_of(x, torch::sigmoid(l).sqrt(), torch::sigmoid(-l).sqrt());
  };
}

// Song et al.: B(t) = 0.1 t + 19.9 t^2 / 2.
Tensor integral(const Tensor& t) { return 0.1 * t + 9.95 * t * t; }

Tensor denoised_by_edm(const Tensor& x, const Tensor& sigma) {
  return x0_of(x, torch::ones_like(sigma), sigma);
}

struct Case {
  std::string name;
  ConventionOptions words;
  std::string schedule;
  Net net;
  DiscreteSteps steps = {};
};

ConventionOptions named(const std::string& name) {
  ConventionOptions words;
  words.name = name;
  return words;
}

ConventionOptions in_parts(const std::string& level, const std::string& input,
                           const std::string& output) {
  ConventionOptions words;
  words.level = level;
  words.input_scaling = input;
  words.output = output;
  return words;
}

std::vector<Case> cases() {
  const DiscreteSteps cosine{.steps = 500, .law = "squared_cosine"};
  const Net flow = [](const Tensor& x, const Tensor& time) {  // from noise to data
    const Tensor t = column(1 - time);
    return x0_of(x, 1 - t, t) - eps_of(x, 1 - t, t);
  };
  return {
      {"ddpm", named("ddpm"), "vp_linear", noise_of_step({})},
      {"adm", named("adm"), "vp_linear", noise_of_step({})},
      {"dit of other steps", named("dit"), "vp_cosine", noise_of_step(cosine), cosine},
      {"edm", named("edm"), "edm",
       [](const Tensor& x, const Tensor& s) { return denoised_by_edm(x, column(s)); }},
      {"EDM's inner network", in_parts("c_noise", "edm", "F"), "edm",
       [](const Tensor& in, const Tensor& c_noise) {  // eq. 7: D = c_skip x + c_out F(c_in x)
         const Tensor s = (4 * column(c_noise)).exp(),
                      d2 = torch::full_like(s, kSigmaData * kSigmaData);
         const Tensor x = in * (s.square() + d2).sqrt();
         const Tensor c_skip = d2 / (s.square() + d2);
         const Tensor c_out = s * kSigmaData / (s.square() + d2).sqrt();
         return (denoised_by_edm(x, s) - c_skip * x) / c_out;
       }},
      {"vdm", named("vdm"), "vdm_linear",
       [](const Tensor& x, const Tensor& gamma) {
         const Tensor g = column(gamma);
         return eps_of(x, torch::sigmoid(-g).sqrt(), torch::sigmoid(g).sqrt());
       }},
      {"flow", named("flow"), "flow", flow},
      {"flow under another schedule", named("flow"), "vp_linear", flow},
      {"rectified flow", in_parts("1000t", "flow", "noise_velocity"), "flow",
       [](const Tensor& x, const Tensor& time) {
         const Tensor t = column(time) / 1000;
         return eps_of(x, 1 - t, t) - x0_of(x, 1 - t, t);
       }},
      {"score_sde", named("score_sde"), "vp_linear",
       [](const Tensor& x, const Tensor& label) {
         const Tensor b = integral(column(label) / 999);
         return eps_of(x, (-b / 2).exp(), (-torch::expm1(-b)).sqrt());
       }},
      {"score_sde, subvp", named("score_sde"), "subvp",
       [](const Tensor& x, const Tensor& label) {
         const Tensor b = integral(column(label) / 999);
         return eps_of(x, (-b / 2).exp(), -torch::expm1(-b));
       }},
      {"score_sde, ve", named("score_sde"), "ve",
       [](const Tensor& x, const Tensor& s) { return -x / (kVariance + column(s).square()); }},
      {"v", in_parts("log_snr", "vp", "v"), "vp_linear",
       [](const Tensor& x, const Tensor& level) {
         const Tensor a = torch::sigmoid(column(level)).sqrt();
         const Tensor s = torch::sigmoid(-column(level)).sqrt();
         return a * eps_of(x, a, s) - s * x0_of(x, a, s);
       }},
      {"a score in x of unit power", in_parts("log_sigma", "vp", "score"), "vp_linear",
       [](const Tensor& x, const Tensor& level) {
         const Tensor r = column(level).exp();
         const Tensor a2 = 1 / (1 + r.square()), s2 = r.square() * a2;
         return -x / (a2 * kVariance + s2);
       }},
      {"a score in EDM's x", in_parts("sigma", "edm", "score"), "edm",
       [](const Tensor& in, const Tensor& level) {
         const Tensor s = column(level);
         const Tensor x = in * (s.square() + kSigmaData * kSigmaData).sqrt();
         return -x / (kVariance + s.square());
       }},
      {"backwards time", in_parts("1-t", "vp", "eps"), "vdm_linear",
       [](const Tensor& x, const Tensor& level) {  // gamma from -13.3 to 5
         const Tensor g = -13.3 + 18.3 * (1 - column(level));
         return eps_of(x, torch::sigmoid(-g).sqrt(), torch::sigmoid(g).sqrt());
       }},
  };
}

Convention made(const Case& c) {
  ScheduleOptions schedule;
  schedule.name = c.schedule;
  return {c.words, c.steps, schedule, kSigmaData};
}

struct Noised {
  Tensor x, log_snr, x0, eps;
};

// Levels within all the cases' schedules and tables.
Noised noised() {
  torch::manual_seed(3);
  const Tensor l = torch::linspace(-4.9, 8.9, 24, torch::kFloat64);
  const Tensor a = column(torch::sigmoid(l).sqrt()), s = column(torch::sigmoid(-l).sqrt());
  const Tensor x = torch::randn({24, 3}, torch::kFloat64);
  return {x, l, x0_of(x, a, s), eps_of(x, a, s)};
}

double largest(const Tensor& difference) { return difference.abs().max().item<double>(); }

TEST(Convention, GivesTheConditionalMeansThatItsPapersFormulasGive) {
  const Noised at = noised();
  for (const Case& c : cases()) {
    const Convention convention = made(c);
    const Tensor scale = column(convention.input_scale(at.log_snr));
    const Tensor output = c.net(scale * at.x, convention.level(at.log_snr));
    const Denoised found = convention.denoised(output, at.x, at.log_snr);
    // x0 of eps loses digits as a -> 0, eps of x0 as s -> 0: at most e^4.5 here.
    EXPECT_LT(largest(found.x0 - at.x0), 1e-10) << c.name;
    EXPECT_LT(largest(found.eps - at.eps), 1e-10) << c.name;
  }
}

TEST(Convention, SaysItsOutputInThePredictionThatIsAskedFor) {
  const Noised at = noised();
  for (const Case& c : cases()) {
    const Convention convention = made(c);
    const Tensor output =
        c.net(column(convention.input_scale(at.log_snr)) * at.x, convention.level(at.log_snr));
    const Tensor scale = convention.schedule_scale(at.log_snr);
    const NoiseLevel level{scale * torch::sigmoid(at.log_snr).sqrt(),
                           scale * torch::sigmoid(-at.log_snr).sqrt(), at.log_snr};
    for (const auto prediction :
         {Prediction::x0, Prediction::eps, Prediction::v, Prediction::score, Prediction::F}) {
      const Parametrisation asked{prediction, kSigmaData};
      const Tensor said = convention.as(prediction, output, at.x, at.log_snr);
      const Denoised found = denoised_from(asked, said, column(scale) * at.x, level);
      EXPECT_LT(largest(found.eps - at.eps), 1e-9) << c.name << " as " << name_of(prediction);
      EXPECT_LT(largest(found.x0 - at.x0), 1e-9) << c.name << " as " << name_of(prediction);
    }
  }
}

// x_t of the schedule is the scale times x: alpha^2 + sigma^2 of its own formulas.
TEST(Convention, KnowsTheSizeOfEachSchedulesOwnXt) {
  const std::map<std::string, double> times = {{"vp_linear", 0.4}, {"ve", 0.4},
                                               {"edm", 0.7},       {"flow", 0.4},
                                               {"subvp", 0.4},     {"vp_cosine", 0.4}};
  for (const auto& [name, time] : times) {
    ScheduleOptions options;
    options.name = name;
    const NoiseLevel level = make_schedule(options)->at(time, 1);
    const Convention convention(named("vdm"), {}, options, kSigmaData);
    EXPECT_NEAR(convention.schedule_scale(level.log_snr).item<double>(),
                std::hypot(level.alpha.item<double>(), level.sigma.item<double>()), 1e-9)
        << name;
  }
}

// Beyond the table a network is told its first or last step.
TEST(Convention, NumberedStepsEndWithTheirTable) {
  const Convention ddpm(named("ddpm"), {}, {}, kSigmaData);
  const std::vector<double> table = log_snr_of_steps({});
  const Tensor level = ddpm.level(torch::tensor(
      {50.0, table[0], table[700], (table[3] + table[4]) / 2, -50.0}, torch::kFloat64));
  EXPECT_LT(largest(level - torch::tensor({0.0, 0.0, 700.0, 3.5, 999.0}, torch::kFloat64)), 1e-9);
}

TEST(Convention, ImpliesAScheduleAndAPrediction) {
  const auto of = [](const std::string& name) { return defaults_of(named(name), {}, ""); };
  EXPECT_EQ(of("ddpm").schedule, "vp_linear");
  EXPECT_TRUE(of("adm").learned_variance && of("dit").learned_variance);
  EXPECT_FALSE(of("ddpm").learned_variance);
  EXPECT_EQ(of("edm").schedule + of("edm").prediction, "edmx0");
  EXPECT_EQ(of("flow").schedule + of("flow").prediction, "flowv");
  EXPECT_EQ(of("vdm").schedule + of("vdm").prediction, "vdm_lineareps");
  EXPECT_EQ(defaults_of(named("score_sde"), {}, "ve").prediction, "eps");
  EXPECT_EQ(defaults_of(named("ddpm"), {.law = "squared_cosine"}, "").schedule, "vp_cosine");
}

TEST(Convention, SaysWhichWordIsMissingOrUnknown) {
  EXPECT_ERROR(resolved({}), ConfigError, "model.level is not given", "model.convention",
               "ddpm adm edm");
  EXPECT_ERROR(resolved(in_parts("log_snr", "vp", "auto")), ConfigError, "model.output");
  EXPECT_ERROR(resolved(in_parts("sigmas", "vp", "eps")), ConfigError, "model.level = \"sigmas\"",
               "c_noise");
  EXPECT_ERROR(resolved(named("ddim")), ConfigError, "model.convention = \"ddim\"");
}

}  // namespace
}  // namespace scorenet::diffusion
