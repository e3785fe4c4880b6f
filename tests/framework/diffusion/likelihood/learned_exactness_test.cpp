// With a learned schedule, whose parameters may be any, what says exact is the closed form,
// or it refuses.
#include <torch/utils.h>

#include <functional>

#include "framework/diffusion/learned_schedule.hpp"
#include "framework/diffusion/likelihood/elbo.hpp"
#include "framework/diffusion/likelihood/hbar_elbo.hpp"
#include "framework/diffusion/likelihood/immse.hpp"
#include "framework/diffusion/likelihood/mcallester.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/diffusion/likelihood/wkb.hpp"
#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using namespace test;
using Exact = std::function<torch::Tensor(const Schedule&)>;

const std::vector<double> kMean = {0.4}, kVariance = {0.6};
const torch::Tensor kPoints = doubles({-0.3, 1.5}).unsqueeze(1);

// One hidden unit: nearly all of gamma's way lies in a step of this steepness at t = 1/2.
LearnedSchedule with_step(double steepness) {
  const auto net = std::make_shared<MonotoneGamma>(-13.3, 5.0, 1);
  net->to(torch::kFloat64);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : net->named_parameters()) {
    const std::string& name = parameter.key();
    parameter.value().fill_(name == "steep" ? steepness : name == "line" ? -5.0 : 0.0);
  }
  return {net, 0, 1};
}

// Every evaluator, of a Gaussian: none depends on what the schedule does between its ends.
std::vector<std::pair<std::string, Exact>> evaluators() {
  static const auto law = gaussian(kMean, kVariance);
  static const Denoiser denoiser = make_mixture_denoiser(law);
  return {{"elbo",
           [](const Schedule& s) { return elbo_exact(denoiser, s, Decoder::flat, kPoints).nats; }},
          {"immse", [](const Schedule& s) { return immse_exact(denoiser, s, kPoints).nats; }},
          {"mcallester", [](const Schedule& s) { return mcallester_exact(*law, s, kPoints).nats; }},
          {"ode",
           [](const Schedule& s) {
             return ode_likelihood_exact(denoiser, s, kPoints, {0, 1}, {}).nats;
           }},
          {"hbar-elbo",
           [](const Schedule& s) { return hbar_elbo_exact(denoiser, s, kPoints, 0.5).nats; }},
          {"wkb", [](const Schedule& s) {
             return wkb_exact(denoiser, s, kPoints, {.steps = 0, .rtol = 1e-9, .atol = 1e-9})
                 .term("nll1");
           }}};
}

// learned_test has the diffusion term, of which the other evaluators are made.
TEST(LearnedExactness, WhatTimesCanTellApartIsIntegrated) {
  for (const auto& [name, exact] : evaluators()) {
    if (name == "ode")
      expect_close(exact(with_step(30)), exact(*schedule_named("vdm_linear")), 1e-6);
  }
}

TEST(LearnedExactness, LevelsThatNoTimeHasAreRefused) {
  // At 1e18 the step lies between two neighbouring numbers of float64: two rules agree on
  // what both miss.
  for (const auto& [name, exact] : evaluators())
    expect_error<ConfigError>([&exact = exact] { exact(with_step(1e18)); }, "no time");
}

}  // namespace
}  // namespace scorenet::diffusion
