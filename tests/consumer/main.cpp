// The exact score of a Gaussian mixture, and the likelihood of its probability-flow ODE, beside
// the closed forms. Exit code 1 if either differs.
//
// x0 ~ 1/2 N(m, s^2) + 1/2 N(-m, s^2), so with V = alpha^2 s^2 + sigma^2 and a = alpha m:
//     p(x_t) = N(x_t; 0, V) exp(-a^2 / 2V) cosh(a x_t / V)
//     score  = (a tanh(a x_t / V) - x_t) / V
#include <cmath>
#include <cstdio>
#include <memory>
#include <numbers>

#include "framework/diffusion/gaussian_mixture.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/diffusion/schedule.hpp"

using namespace scorenet::diffusion;

constexpr double kM = 1.0, kS = 0.5, kX = 0.7;

bool close(const char* name, double value, double closed_form) {
  std::printf("%-7s %.9f   closed form %.9f\n", name, value, closed_form);
  return std::abs(value - closed_form) < 1e-7;
}

int main() {
  // So much noise at the end (log-SNR -30) that the ODE's prior N(0, 1) is the mixture's own.
  const auto schedule = make_schedule({.name = "vdm_linear", .gamma_max = 30});
  const auto mixture = std::make_shared<GaussianMixture>(
      torch::full({2}, 0.5, torch::kFloat64), torch::tensor({{kM}, {-kM}}, torch::kFloat64),
      torch::full({2, 1, 1}, kS * kS, torch::kFloat64));
  const auto x = torch::full({1, 1}, kX, torch::kFloat64);

  const NoiseLevel level = schedule->at(0.3, 1);  // log-SNR 0.3: both modes are felt
  double a = level.alpha.item<double>() * kM;
  double v = std::pow(level.alpha.item<double>() * kS, 2) + level.sigma.square().item<double>();
  const double score = (a * std::tanh(a * kX / v) - kX) / v;

  // The likelihood is that of x as the state at t_min.
  const NoiseLevel first = schedule->at(schedule->t_min(), 1);
  a = first.alpha.item<double>() * kM;
  v = std::pow(first.alpha.item<double>() * kS, 2) + first.sigma.square().item<double>();
  const double log_p = -(kX * kX + a * a) / (2 * v) + std::log(std::cosh(a * kX / v)) -
                       std::log(2 * std::numbers::pi * v) / 2;
  const auto ode = ode_likelihood(make_mixture_denoiser(mixture), *schedule, x, {0},
                                  {.exact_trace = true, .rtol = 1e-9, .atol = 1e-9});

  const bool same_score = close("score", mixture->score(x, level).item<double>(), score);
  return close("-log p", ode.nats.item<double>(), -log_p) && same_score ? 0 : 1;
}
