// Which solver `ode` takes, and what it refuses.
#include "framework/evaluate/ode_choice.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "framework/core/error.hpp"
#include "tests/support/expect_error.hpp"

namespace scorenet::evaluate {
namespace {

EvaluationOptions with(const std::function<void(EvaluationOptions&)>& change) {
  EvaluationOptions options;
  change(options);
  return options;
}

TEST(OdeChoice, AutoTakesWhatTheOptionsAndTheModelAskFor) {
  EXPECT_EQ(ode_choice({}, false).text, "adams, 0.002 nats a dimension");
  EXPECT_EQ(ode_choice({}, true).text, "dormand-prince, rtol 1e-05, atol 1e-05");
  EXPECT_EQ(ode_choice(with([](auto& o) { o.solver.steps = 20; }), false).text, "rk4, 20 steps");
  EXPECT_EQ(ode_choice(with([](auto& o) { o.solver.rtol = 1e-3; }), false).text,
            "dormand-prince, rtol 0.001, atol 0.001");
  EXPECT_EQ(ode_choice(with([](auto& o) { o.solver.atol = 1e-8; }), false).text,
            "dormand-prince, rtol 1e-08, atol 1e-08");
  EXPECT_EQ(ode_choice(with([](auto& o) {
                         o.solver.rtol = 1e-3;
                         o.solver.atol = 1e-6;
                       }),
                       false)
                .text,
            "dormand-prince, rtol 0.001, atol 1e-06");
  EXPECT_EQ(ode_choice(with([](auto& o) { o.exact = true; }), false).text,
            "dormand-prince, rtol 1e-09, atol 1e-09");
}

TEST(OdeChoice, ASolverThatIsNamedIsTaken) {
  const auto adams = ode_choice(with([](auto& o) {
                                  o.solver.name = "adams";
                                  o.solver.steps = 40;
                                  o.solver.probes = 3;
                                  o.seed = 5;
                                }),
                                true);
  EXPECT_EQ(adams.text, "adams, 40 steps");
  EXPECT_TRUE(adams.options.adams);
  EXPECT_EQ(adams.options.steps, 40);
  EXPECT_EQ(adams.options.probes, 3);
  EXPECT_EQ(adams.options.seed, 5u);
  const auto finer = ode_choice(with([](auto& o) { o.solver.tolerance = 1e-4; }), false);
  EXPECT_EQ(finer.options.tolerance, 1e-4);
  EXPECT_EQ(ode_choice(with([](auto& o) { o.solver.name = "dormand-prince"; }), false).text,
            "dormand-prince, rtol 1e-05, atol 1e-05");
}

TEST(OdeChoice, OptionsOfAnotherSolverAreRefused) {
  const auto refused = [](const std::string& part, auto change) {
    test::expect_error<ConfigError>([&] { ode_choice(with(change), false); }, part);
  };
  refused("--solver euler: not known", [](auto& o) { o.solver.name = "euler"; });
  refused("--solver rk4: has no step control", [](auto& o) { o.solver.name = "rk4"; });
  refused("--solver dormand-prince: chooses its steps", [](auto& o) {
    o.solver.name = "dormand-prince";
    o.solver.steps = 10;
  });
  refused("--exact: of dormand-prince and rk4 alone", [](auto& o) {
    o.solver.name = "adams";
    o.exact = true;
  });
  refused("--rtol and --atol: of dormand-prince alone", [](auto& o) {
    o.solver.name = "adams";
    o.solver.atol = 1e-3;
  });
  refused("--tolerance: of --solver adams", [](auto& o) {
    o.solver.tolerance = 1e-3;
    o.solver.steps = 10;
  });
}

}  // namespace
}  // namespace scorenet::evaluate
