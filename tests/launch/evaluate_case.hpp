// `scorenet evaluate` on an analytic model that a test writes.
#pragma once

#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/launch/gaussian_model.hpp"

namespace scorenet::test {

// A model, a data file, and what `evaluate` says of them.
class Case {
 public:
  Case(const std::string& schedule, const torch::Tensor& points, const std::vector<Normal>& laws,
       const std::string& errors = "") {
    write_gaussian(folder_ / "law.h5", laws);
    configure(schedule, points, errors);
  }
  Case(const std::string& schedule, const torch::Tensor& points, const torch::Tensor& weights,
       const torch::Tensor& means, const torch::Tensor& covariances,
       const std::string& errors = "") {
    write_mixture(folder_ / "law.h5", weights, means, covariances);
    configure(schedule, points, errors);
  }

  std::string command(const std::string& options) const {
    return "evaluate --config " + (folder_ / "model.toml") + " --data " + (folder_ / "points.h5") +
           " --json " + (folder_ / "out.json") + " --per-example " + (folder_ / "out.h5") +
           " --force " + options;
  }
  void evaluate(const std::string& options, const std::string& program = "SCORENET") const {
    const Outcome outcome = run("OMP_NUM_THREADS=1 " + program + " " + command(options));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  torch::Tensor values(const std::string& name) const {
    return read_array(folder_ / "out.h5", "/" + name);
  }
  nlohmann::json metric(const std::string& name) const {
    return nlohmann::json::parse(text_of(folder_ / "out.json"))["metrics"][name];
  }
  std::string file(const std::string& name) const { return folder_ / name; }

 private:
  void configure(const std::string& schedule, const torch::Tensor& points,
                 const std::string& errors) {
    write_config(folder_ / "model.toml", folder_ / "law.h5", schedule, errors);
    write_points(folder_ / "points.h5", points);
  }
  Folder folder_;
};

// |a - b| <= tolerance max(1, |b|).
inline void expect_equal(const torch::Tensor& a, const torch::Tensor& b, double tolerance,
                         const std::string& what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const auto error = ((a - b).abs() / b.abs().clamp_min(1)).max().item<double>();
  EXPECT_LE(error, tolerance) << what;
  if (std::getenv("SCORENET_SHOW_ERRORS")) printf("%s: %.2e\n", what.c_str(), error);
}

// The mean of a - b is zero within four of its standard errors, which are not themselves large.
inline void expect_unbiased(const torch::Tensor& a, const torch::Tensor& b, double largest_error,
                            const std::string& what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const auto gap = a - b;
  const double error =
      gap.std().item<double>() / std::sqrt(static_cast<double>(gap.numel())) + 1e-12;
  EXPECT_LT(error, largest_error) << what;
  EXPECT_LT(std::abs(gap.mean().item<double>()), 4 * error) << what;
}

}  // namespace scorenet::test
