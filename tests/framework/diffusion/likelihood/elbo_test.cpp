// The bound against closed forms of Gaussian data, against relative entropies of mixtures, and
// drawn against exact.
#include "framework/diffusion/likelihood/elbo.hpp"

#include <functional>
#include <numbers>

#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using test::doubles;
using test::expect_close;
using test::expect_error;
using test::gaussian;
using test::mixture_1d;
using test::schedule_named;

struct Ends {
  double snr_0, snr_1;
};
Ends snr_ends(const Schedule& s) {
  const auto l = s.log_snr(doubles({s.t_min(), s.t_max()})).exp();
  return {l[0].item<double>(), l[1].item<double>()};
}

struct Law {
  std::vector<double> mean, variances;
};
const Law kLaws[] = {
    {{0.7}, {0.3}},
    {{-0.2, 1.0}, {2.0, 0.05}},
    {{0, 1, -1, 0.5, 0, 0, 2, 0, 0, 0, -3, 0, 0, 0, 0, 0.1},
     {1, 0.5, 0.1, 2, 3, 0.01, 1, 1, 0.2, 0.3, 0.7, 5, 1, 0.04, 0.6, 1}},
};

torch::Tensor points(const Law& law, int64_t n) {
  return gaussian(law.mean, law.variances)
      ->sample({1, RandomStream::synthetic_data, 0}, slot_range(0, n));
}

// The exact denoiser leaves eps - eps_hat = (alpha^2 L eps - sigma alpha d) / V in a direction of
// variance L, d = x0 - m. With rho = snr its mean square is rho (rho L^2 + d^2) / (1 + rho L)^2,
// and half its integral over d rho / rho is 1/2 [log(1 + rho L) + (1 - d^2 / L) / (1 + rho L)]
// between the ends.
torch::Tensor gaussian_diffusion_nats(const Law& law, const Ends& ends, const torch::Tensor& x0) {
  const auto l = doubles(law.variances);
  const auto d2 = (x0 - doubles(law.mean)).square();
  const auto log_part = torch::log1p(ends.snr_0 * l) - torch::log1p(ends.snr_1 * l);
  const auto rest = (1 - d2 / l) * (1 / (1 + ends.snr_0 * l) - 1 / (1 + ends.snr_1 * l));
  return 0.5 * (log_part + rest).sum(1);
}

TEST(Elbo, OnGaussianDataEveryTermHasItsClosedFormUnderEverySchedule) {
  for (const Law& law : kLaws) {
    const int64_t n = law.mean.size() == 2 ? 1 : 2;  // two dimensions cost a lattice a time
    const auto x0 = points(law, n);
    const auto dims = double(law.mean.size());
    const auto denoiser = make_mixture_denoiser(gaussian(law.mean, law.variances));
    for (const std::string& name : schedule_names()) {
      const auto schedule = schedule_named(name);
      const Ends ends = snr_ends(*schedule);
      const auto result = elbo_exact(denoiser, *schedule, Decoder::flat, x0);
      const auto diffusion = gaussian_diffusion_nats(law, ends, x0);
      expect_close(result.term("diffusion") / diffusion, torch::ones({n}, torch::kFloat64), 1e-9,
                   name);
      // KL(N(a x0, s^2) || N(0, P)) and D/2 log(2 pi e / snr_0).
      const NoiseLevel level = schedule->at(schedule->t_max(), 1);
      const double p = schedule->prior_variance();
      const double r = std::pow(level.sigma.item<double>(), 2) / p;
      const auto prior = 0.5 * (std::pow(level.alpha.item<double>(), 2) / p * x0.square().sum(1) +
                                dims * (r - 1 - std::log(r)));
      expect_close(result.term("prior"), prior, 1e-12, name);
      const double flat = dims / 2 * std::log(2 * std::numbers::pi * std::numbers::e / ends.snr_0);
      expect_close(result.term("reconstruction"), torch::full({n}, flat, torch::kFloat64), 1e-12,
                   name);
      expect_close(result.nats, prior + diffusion + flat, 1e-9, name);
      EXPECT_EQ(result.kind, ResultKind::bound);
    }
  }
}

TEST(Elbo, TheGapToTheEntropyIsWhatTheTwoEndsCost) {
  // E_x[bound] - H = KL(q(x_1) || prior) + E KL(p(x0 given x_0) || decoder). For one Gaussian
  // N(m, L), V_1 = alpha_1^2 L + sigma_1^2:
  // 1/2 (V_1/P + alpha_1^2 m^2/P - 1 - log(V_1/P)) and, for the flat decoder, 1/2
  // log(1 + 1/(snr_0 L)). The bound is quadratic in x0, so its mean over the law is the mean over
  // m +- sqrt(L).
  const double m = 0.7, l = 0.3;
  const auto denoiser = make_mixture_denoiser(gaussian({m}, {l}));
  const auto x0 = doubles({m - std::sqrt(l), m + std::sqrt(l)}).unsqueeze(1);
  for (const std::string& name : schedule_names()) {
    const auto schedule = schedule_named(name);
    const NoiseLevel noisy = schedule->at(schedule->t_max(), 1);
    const double a2 = std::pow(noisy.alpha.item<double>(), 2), p = schedule->prior_variance();
    const double v = a2 * l + std::pow(noisy.sigma.item<double>(), 2);
    const double prior_gap = 0.5 * (v / p + a2 * m * m / p - 1 - std::log(v / p));
    const double decoder_gap = 0.5 * std::log1p(1 / (snr_ends(*schedule).snr_0 * l));
    const double entropy = 0.5 * std::log(2 * std::numbers::pi * std::numbers::e * l);
    EXPECT_NEAR(elbo_exact(denoiser, *schedule, Decoder::flat, x0).nats.mean().item<double>(),
                entropy + prior_gap + decoder_gap, 1e-9)
        << name;
    // The Tweedie decoder has the right mean and the wrong variance 1/snr_0 for
    // c = L / (1 + snr_0 L):
    // KL = 1/2 (c snr_0 - 1 - log(c snr_0)).
    const double c = l * snr_ends(*schedule).snr_0 / (1 + snr_ends(*schedule).snr_0 * l);
    EXPECT_NEAR(elbo_exact(denoiser, *schedule, Decoder::tweedie, x0).nats.mean().item<double>(),
                entropy + prior_gap + 0.5 * (c - 1 - std::log(c)), 1e-9)
        << name;
  }
}

TEST(Elbo, WithTStepsItIsTheRiemannSumOfTheClosedForm) {
  for (const Law& law : {kLaws[0], kLaws[1]}) {
    const auto x0 = points(law, 2);
    const auto denoiser = make_mixture_denoiser(gaussian(law.mean, law.variances));
    for (const char* name : {"vdm_linear", "vp_cosine", "edm"}) {
      const auto schedule = schedule_named(name);
      for (const int64_t steps : {1, 10, 100, 1000}) {
        if (steps == 1000 && law.mean.size() == 2) continue;  // 14 s of lattice for no new fact
        // 1/2 sum (snr_{i-1} - snr_i) mse_x(snr_i), mse_x = sum_j (snr L^2 + d^2) / (1 + snr L)^2.
        auto sum = torch::zeros({2}, torch::kFloat64);
        double snr_before = snr_ends(*schedule).snr_0;
        for (int64_t i = 1; i <= steps; ++i) {
          const double t = schedule->t_min() +
                           (schedule->t_max() - schedule->t_min()) * double(i) / double(steps);
          const double snr = schedule->log_snr(doubles({t})).exp().item<double>();
          const auto l = doubles(law.variances);
          const auto d2 = (x0 - doubles(law.mean)).square();
          sum +=
              0.5 * (snr_before - snr) * ((snr * l.square() + d2) / (1 + snr * l).square()).sum(1);
          snr_before = snr;
        }
        const auto result = elbo_stepwise_exact(denoiser, *schedule, Decoder::flat, steps, x0);
        expect_close(result.term("diffusion") / sum, torch::ones({2}, torch::kFloat64), 1e-8,
                     std::string(name) + " T = " + std::to_string(steps));
      }
    }
  }
}

TEST(Elbo, WithALearnedVarianceItIsTheSumOfGaussianKls) {
  // The exact mean and a variance between beta_tilde and beta, in the log, as the network says it
  // (here a function of the level): KL of N(m_q, v_q) from N(m, v), the mean's error being alpha_s
  // beta / sigma_t^2 times that of x0.
  const auto said = [](const torch::Tensor& log_snr) { return (log_snr / 4).tanh(); };
  for (const Law& law : {kLaws[0], kLaws[1]}) {
    const auto x0 = points(law, 2);
    const auto mean_only = make_mixture_denoiser(gaussian(law.mean, law.variances));
    const Denoiser denoiser = [&](const torch::Tensor& x, const NoiseLevel& level) {
      Denoised estimate = mean_only(x, level);
      estimate.raw_variance = said(level.log_snr).unsqueeze(1).expand_as(x);
      return estimate;
    };
    for (const char* name : {"vp_cosine", "vdm_linear"}) {
      const auto schedule = schedule_named(name);
      for (const int64_t steps : {3, 30}) {
        const auto grid =
            torch::linspace(schedule->t_min(), schedule->t_max(), steps + 1, torch::kFloat64);
        const NoiseLevel all = schedule->at(grid);
        const auto l = doubles(law.variances);
        const auto d2 = (x0 - doubles(law.mean)).square();
        auto sum = torch::zeros({2}, torch::kFloat64);
        for (int64_t i = 1; i <= steps; ++i) {
          const auto snr = all.log_snr[i].exp();
          const auto beta =
              all.sigma[i].square() - (all.alpha[i] / all.alpha[i - 1] * all.sigma[i - 1]).square();
          const auto v_q = beta * (all.sigma[i - 1] / all.sigma[i]).square();
          const auto fraction = (said(all.log_snr[i]) + 1) / 2;
          const auto v = (fraction * beta.log() + (1 - fraction) * v_q.log()).exp();
          const auto mse = (snr * l.square() + d2) / (1 + snr * l).square();
          const auto gap = (all.alpha[i - 1] * beta / all.sigma[i].square()).square() * mse;
          sum += (0.5 * (v_q / v - 1 - (v_q / v).log() + gap / v)).sum(1);
        }
        const auto result = elbo_stepwise_exact(denoiser, *schedule, Decoder::flat, steps, x0);
        expect_close(result.term("diffusion") / sum, torch::ones({2}, torch::kFloat64), 1e-7,
                     std::string(name) + " T = " + std::to_string(steps));
        // 2,000 draws of the step leave some per cent.
        DrawOptions draws;
        draws.time_samples = 2000;
        const auto drawn =
            elbo_stepwise(denoiser, *schedule, Decoder::flat, steps, x0, slot_range(0, 2), draws);
        expect_close(drawn.term("diffusion") / sum, torch::ones({2}, torch::kFloat64), 0.2,
                     std::string("drawn, ") + name);
      }
    }
  }
}

// KL(q(x_t given x0) || q(x_t)) by a trapezoidal sum over the noise, one dimension.
double information(const GaussianMixture& law, const Schedule& schedule, double t, double x0) {
  const double h = 0.01;
  const auto e = torch::arange(-900, 901, torch::kFloat64) * h;
  const NoiseLevel level = schedule.at(t, e.size(0));
  const auto x_t = (level.alpha * x0 + level.sigma * e).unsqueeze(1);
  const auto log_q = -0.5 * e.square() - level.sigma.log() - 0.5 * std::log(2 * std::numbers::pi);
  const auto weight = h * (-0.5 * e.square()).exp() / std::sqrt(2 * std::numbers::pi);
  return (weight * (log_q - law.log_density(x_t, level))).sum().item<double>();
}

TEST(Elbo, OnAMixtureTheDiffusionTermIsTheInformationLostBetweenItsEnds) {
  // d KL(q(x_t given x0) || q(x_t)) / d snr = mse_x / 2 at every x0, so the term is the difference
  // of two relative entropies.
  const auto law = mixture_1d({0.3, 0.5, 0.2}, {-1.5, 0.4, 2.0}, {0.01, 0.09, 0.3});
  const auto denoiser = make_mixture_denoiser(law);
  const std::vector<double> x{-1.55, -0.4, 0.5, 2.2};
  const auto x0 = doubles(x).unsqueeze(1);
  for (const std::string& name : schedule_names()) {
    const auto schedule = schedule_named(name);
    const auto nats = exact_diffusion_term(denoiser, *schedule, x0).nats;
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = information(*law, *schedule, schedule->t_min(), x[i]) -
                              information(*law, *schedule, schedule->t_max(), x[i]);
      EXPECT_NEAR(nats[int64_t(i)].item<double>() / expected, 1, 1e-8) << name << " x = " << x[i];
    }
  }
}

TEST(Elbo, OnAProductOfSharpMixturesTheTermIsTheSumOfItsFactors) {
  // Nine modes 40 standard deviations apart, the product of a mixture of three with itself:
  // densities multiply, so relative entropies add. The factor's own integral uses the ten times
  // finer lattice of one dimension.
  const double s2 = 0.0177 * 0.0177;
  const auto factor = mixture_1d({0.25, 0.5, 0.25}, {-0.707, 0, 0.707}, {s2, s2, s2});
  std::vector<double> weights, means;
  for (int i = -1; i <= 1; ++i) {
    for (int j = -1; j <= 1; ++j) {
      weights.push_back((i ? 0.25 : 0.5) * (j ? 0.25 : 0.5));
      means.insert(means.end(), {0.707 * i, 0.707 * j});
    }
  }
  const auto product =
      std::make_shared<GaussianMixture>(doubles(weights), doubles(means).view({9, 2}),
                                        s2 * torch::eye(2, torch::kFloat64).expand({9, 2, 2}));
  const auto schedule = schedule_named("vp_ramp");
  const auto x0 = doubles({0.69, -0.04, -0.72, 0.71}).view({2, 2});
  const auto parts =
      exact_diffusion_term(make_mixture_denoiser(factor), *schedule, x0.view({4, 1})).nats;
  const auto whole = exact_diffusion_term(make_mixture_denoiser(product), *schedule, x0).nats;
  expect_close(whole / parts.view({2, 2}).sum(1), torch::ones({2}, torch::kFloat64), 1e-7);
  for (int64_t i = 0; i < 4; ++i) {
    const double x = x0.flatten()[i].item<double>();
    const double expected =
        information(*factor, *schedule, 0.01, x) - information(*factor, *schedule, 1, x);
    EXPECT_NEAR(parts[i].item<double>() / expected, 1, 1e-7) << x;
  }
}

TEST(Elbo, AWrongScoreCostsItsWeightedError) {
  // score_scale k in one dimension: eps - eps_hat = (1 - k sigma^2 / V) eps - k sigma alpha d / V;
  // integrated here by Simpson's rule over log_snr in plain doubles.
  const double m = 0.7, l = 0.3, k = 1.4, x = 1.3, d = x - m;
  const auto denoiser = make_mixture_denoiser(gaussian({m}, {l}), {k, {}, {}});
  const auto schedule = schedule_named("vdm_linear");
  const auto integrand = [&](double log_snr) {
    const double q = 1 / (1 + std::exp(log_snr) * l);  // sigma^2 / V
    return 0.5 * (std::pow(1 - k * q, 2) + k * k * q * q * std::exp(log_snr) * d * d);
  };
  const int n = 4000;
  double sum = integrand(-5) + integrand(13.3);
  for (int i = 1; i < n; ++i) sum += (i % 2 ? 4 : 2) * integrand(-5 + 18.3 * i / n);
  const auto nats = exact_diffusion_term(denoiser, *schedule, doubles({x}).unsqueeze(1)).nats;
  EXPECT_NEAR(nats.item<double>(), sum * 18.3 / n / 3, 1e-9);
}

TEST(Elbo, DrawsAgreeWithTheExactValueWithinTheirError) {
  const auto law = mixture_1d({0.3, 0.7}, {-1.5, 0.4}, {0.04, 0.2});
  const auto denoiser = make_mixture_denoiser(law);
  const auto schedule = schedule_named("vp_linear");
  const int64_t n = 2000;
  const auto slots = slot_range(0, n);
  const auto x0 = doubles({0.6}).unsqueeze(1).expand({n, 1}).contiguous();
  const auto one = x0.slice(0, 0, 1);
  const auto agree = [&](const LikelihoodResult& drawn, const LikelihoodResult& exact,
                         const std::string& what) {
    const double error = drawn.nats.std().item<double>() / std::sqrt(double(n));
    EXPECT_NEAR(drawn.nats.mean().item<double>(), exact.nats.item<double>(), 4 * error) << what;
  };
  for (const int64_t k : {1, 4}) {
    agree(elbo(denoiser, *schedule, Decoder::tweedie, x0, slots, {5, k}),
          elbo_exact(denoiser, *schedule, Decoder::tweedie, one), "elbo");
    for (const int64_t steps : {1, 10}) {
      agree(elbo_stepwise(denoiser, *schedule, Decoder::flat, steps, x0, slots, {6, k}),
            elbo_stepwise_exact(denoiser, *schedule, Decoder::flat, steps, one), "elbo-T");
    }
  }
}

TEST(Elbo, AnExampleIsAFunctionOfItsSlotAlone) {
  const auto denoiser = make_mixture_denoiser(gaussian({0, 0}, {1, 2}));
  const auto schedule = schedule_named("vp_cosine");
  const auto x0 = points({{0, 0}, {1, 2}}, 7);
  const auto whole = elbo(denoiser, *schedule, Decoder::tweedie, x0, slot_range(10, 7), {1, 3});
  const auto part =
      elbo(denoiser, *schedule, Decoder::tweedie, x0.slice(0, 2, 5), slot_range(12, 3), {1, 3});
  EXPECT_TRUE(torch::equal(part.nats, whole.nats.slice(0, 2, 5)));
  const auto stepwise =
      elbo_stepwise(denoiser, *schedule, Decoder::flat, 10, x0, slot_range(10, 7), {1, 3});
  const auto last =
      elbo_stepwise(denoiser, *schedule, Decoder::flat, 10, x0.slice(0, 6), {16}, {1, 3});
  EXPECT_TRUE(torch::equal(last.nats, stepwise.nats.slice(0, 6)));
  EXPECT_EQ(whole.nfe[0].item<double>(), 3);
}

TEST(Elbo, ImagesAndFloat32Work) {
  const auto denoiser =
      make_mixture_denoiser(gaussian(std::vector<double>(12, 0.0), std::vector<double>(12, 1.0)));
  const auto schedule = schedule_named("vdm_linear");
  const auto x0 = torch::zeros({2, 3, 2, 2}, torch::kFloat32);
  const auto drawn = elbo(denoiser, *schedule, Decoder::flat, x0, {0, 1}, {0, 2});
  EXPECT_EQ(drawn.nats.scalar_type(), torch::kFloat64);
  // d = 0, L = 1: 12/2 [log((1 + snr_0) / (1 + snr_1)) + 1/(1 + snr_0) - 1/(1 + snr_1)].
  const double s0 = std::exp(13.3), s1 = std::exp(-5);
  const double expected = 6 * (std::log1p(s0) - std::log1p(s1) + 1 / (1 + s0) - 1 / (1 + s1));
  EXPECT_NEAR(exact_diffusion_term(denoiser, *schedule, x0).nats[0].item<double>() / expected, 1,
              1e-5);
}

TEST(Elbo, ExactEvaluationRefusesWhatItCannotDo) {
  const auto schedule = schedule_named("vdm_linear");
  const auto eye = torch::eye(3, torch::kFloat64);
  const auto two_modes = std::make_shared<GaussianMixture>(
      doubles({0.5, 0.5}), torch::stack({torch::zeros({3}), torch::ones({3})}),
      torch::stack({eye, 0.1 * eye}));
  const auto x3 = torch::zeros({2, 3}, torch::kFloat64);
  expect_error<ConfigError>(
      [&] { exact_diffusion_term(make_mixture_denoiser(two_modes), *schedule, x3); },
      "in 3 dimensions needs an affine denoiser");
  // Between two spikes of width 1e-3 the responsibilities flip within 1e-3 of the noise: no
  // lattice sees that.
  const auto spikes =
      std::make_shared<GaussianMixture>(doubles({0.5, 0.5}), doubles({-1, 0, 1, 0}).view({2, 2}),
                                        1e-6 * torch::eye(2, torch::kFloat64).expand({2, 2, 2}));
  expect_error<ConfigError>(
      [&] {
        exact_diffusion_term(make_mixture_denoiser(spikes), *schedule,
                             doubles({0.01, 0}).view({1, 2}));
      },
      "the model is too sharp");
  const auto denoiser = make_mixture_denoiser(gaussian({0}, {1}));
  const auto x1 = torch::zeros({2, 1}, torch::kFloat64);
  expect_error<ConfigError>([&] { elbo(denoiser, *schedule, Decoder::flat, x1, {0, 1}, {0, 0}); },
                            "time samples = 0");
  expect_error<ShapeError>([&] { elbo(denoiser, *schedule, Decoder::flat, x1, {0, 1, 2}, {0, 1}); },
                           "3 slots");
  expect_error<ConfigError>(
      [&] { elbo_stepwise(denoiser, *schedule, Decoder::flat, 0, x1, {0, 1}, {0, 1}); }, "T = 0");
  expect_error<ConfigError>(
      [&] { elbo_exact(denoiser, *schedule, Decoder::flat, x1).term("posterior"); },
      "\"posterior\": expected one of prior diffusion reconstruction");
}

}  // namespace
}  // namespace scorenet::diffusion
