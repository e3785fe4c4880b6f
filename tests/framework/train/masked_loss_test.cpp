// What is missing from an example is in no loss: not its value, and not its number.
#include <torch/utils.h>

#include "framework/core/check.hpp"
#include "framework/diffusion/loss.hpp"
#include "framework/diffusion/preconditioning.hpp"
#include "framework/train/objective.hpp"
#include "tests/framework/train/sim_training.hpp"

namespace scorenet::train {
namespace {

// Two examples of the plane; the second lacks its first number.
NoisedExamples holed(const Objective& objective) {
  NoisedExamples e;
  e.observed = torch::tensor({{1.f, 1.f}, {0.f, 1.f}});
  e.x0 = torch::tensor({{0.4f, -0.3f}, {0.f, 0.8f}});
  e.eps = torch::tensor({{-1.1f, 0.2f}, {0.f, 0.9f}});
  e.levels = objective.draw_levels(0, {0, 1});
  return e;
}

TEST(MaskedLoss, IsTheErrorOfTheObservedDimensionsByTheirNumber) {
  for (const char* prediction : {"eps", "v", "x0", "score", "F"}) {
    const auto config =
        sim_config("[diffusion]\nprediction = \"" + std::string(prediction) + "\"\n");
    const auto model = score::build_model(config, {2}, torch::kCPU);
    const Objective objective(model, 0);
    const NoisedExamples e = holed(objective);
    const auto loss = objective.loss_per_example(e, nullptr);

    const auto parametrisation = score::parametrisation(config.diffusion);
    const auto level = model.schedule->at(e.levels.times.t);
    const auto x_t = diffusion::add_noise(e.x0, e.eps, level);
    EXPECT_EQ(x_t[1][0].item<float>(), 0);
    const auto output =
        diffusion::predict(score::network_for(model, {}, nullptr), parametrisation, x_t, level);
    const auto error =
        (diffusion::target_from(parametrisation, e.x0, e.eps, level) - output).square();
    const auto weight = diffusion::loss_weight(diffusion::Weighting::elbo, parametrisation,
                                               *model.schedule, e.levels.times);
    const auto whole = weight[0] * error[0].sum() / 2;  // per dimension
    const auto part = weight[1] * error[1][1];
    EXPECT_NEAR(loss[0].item<double>() / whole.item<double>(), 1, 1e-5) << prediction;
    EXPECT_NEAR(loss[1].item<double>() / part.item<double>(), 1, 1e-5) << prediction;
  }
}

TEST(MaskedLoss, MissesNothingWhereAllIsObserved) {
  const auto model = score::build_model(sim_config(), {2}, torch::kCPU);
  const Objective objective(model, 0);
  NoisedExamples e = holed(objective);
  e.observed = torch::ones({2, 2});
  const auto masked = objective.loss_per_example(e, nullptr);
  e.observed = torch::Tensor();
  EXPECT_TRUE(torch::allclose(masked, objective.loss_per_example(e, nullptr), 1e-7, 0));
}

}  // namespace
}  // namespace scorenet::train
