// How many evaluations of a network each solver of the metric `ode` needs for which error of the
// value; and what a probe of the trace costs in variance, beside the exact trace.
//
//   ode_solvers_benchmark SNAPSHOT DATA.h5 [IMAGES [EXACT]]
//
// IMAGES (16) test images, dequantised once, one probe each. Errors are against the adams solver
// with 1,024 steps, in bits a dimension. EXACT (0) of them are solved with the exact trace too,
// which takes as many gradients an evaluation as the image has dimensions.
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>

#include "framework/core/error.hpp"
#include "framework/core/pixels.hpp"
#include "framework/core/random.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/diffusion/likelihood/dequantise.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/diffusion/likelihood/units.hpp"
#include "framework/score/snapshot.hpp"

namespace scorenet::benchmark {
namespace {

using diffusion::OdeLikelihoodOptions;

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

struct Problem {
  const score::ScoreModel& model;
  torch::Tensor x;  // (n, ...) float64 at t_min
  std::vector<int64_t> slots;

  double bits(double nats) const { return diffusion::bits_per_dim(nats, x.numel() / x.size(0)); }
  diffusion::LikelihoodResult solve(const OdeLikelihoodOptions& options) const {
    return diffusion::ode_likelihood(score::denoiser_for(model), *model.schedule, x, slots,
                                     options);
  }
};

Problem problem_of(const score::LoadedSnapshot& loaded, const std::string& data, int64_t n) {
  data::ImageDataset dataset(data, "test");
  const auto slots = slot_range(0, n);
  const auto levels = data_from_pixels(dataset.read(slots).examples, torch::kFloat64);
  return {loaded.model, diffusion::dequantise_uniform(levels, slots, 0).y, slots};
}

void print_row(const Problem& problem, const std::string& name, const OdeLikelihoodOptions& options,
               const torch::Tensor& reference) {
  const double start = cpu_seconds();
  const auto result = problem.solve(options);
  const double seconds = (cpu_seconds() - start) / static_cast<double>(problem.slots.size());
  const auto error = result.nats - reference;
  std::printf("| %s | %.0f | %.5f | %.5f | %.5f | %.2f |\n", name.c_str(),
              result.nfe.mean().item<double>(), problem.bits(error.mean().item<double>()),
              problem.bits(error.square().mean().sqrt().item<double>()),
              problem.bits(error.abs().max().item<double>()), seconds);
  std::fflush(stdout);
}

void compare_solvers(const Problem& problem) {
  const auto reference = problem.solve({.steps = 1024, .adams = true}).nats;
  std::printf("%lld images, mean %.4f bits/dim before dequantisation, deviation %.4f\n\n",
              static_cast<long long>(problem.slots.size()),
              problem.bits(reference.mean().item<double>()),
              problem.bits(reference.std().item<double>()));
  std::puts("| solver | evaluations | mean error | root mean square | largest | CPU s an image |");
  std::puts("| --- | ---: | ---: | ---: | ---: | ---: |");
  for (const int64_t steps : {10, 20, 40, 80})
    print_row(problem, "rk4, " + std::to_string(steps) + " steps", {.steps = steps}, reference);
  for (const double tolerance : {1e-3, 1e-4, 1e-5, 1e-6}) {
    char name[64];
    std::snprintf(name, sizeof name, "dormand-prince, rtol = atol = %g", tolerance);
    print_row(problem, name, {.rtol = tolerance, .atol = tolerance}, reference);
  }
  for (const int64_t steps : {16, 32, 64, 128})
    print_row(problem, "adams, " + std::to_string(steps) + " steps",
              {.steps = steps, .adams = true}, reference);
  for (const double tolerance : {5e-3, 2e-3, 5e-4}) {
    char name[64];
    std::snprintf(name, sizeof name, "adams, tolerance %g nats a dimension", tolerance);
    print_row(problem, name, {.adams = true, .tolerance = tolerance}, reference);
  }
}

// The same images with other probes: their spread is that of Hutchinson's estimate alone.
void compare_traces(const Problem& problem) {
  constexpr int64_t kSteps = 32;
  std::vector<torch::Tensor> drawn;
  const double start = cpu_seconds();
  for (uint64_t seed = 1; seed <= 8; ++seed)
    drawn.push_back(problem.solve({.steps = kSteps, .seed = seed, .adams = true}).nats);
  const auto count = static_cast<double>(problem.slots.size());
  const double probed = (cpu_seconds() - start) / 8 / count;
  const auto all = torch::stack(drawn);
  const double between = cpu_seconds();
  const auto exact = problem.solve({.exact_trace = true, .steps = kSteps, .adams = true}).nats;
  const double whole = (cpu_seconds() - between) / count;
  const auto bits = [&](const torch::Tensor& nats) { return problem.bits(nats.item<double>()); };
  std::printf("\n| trace, adams with %lld steps | deviation over probes | CPU s an image |\n",
              static_cast<long long>(kSteps));
  std::puts("| --- | ---: | ---: |");
  std::printf("| one probe | %.4f | %.2f |\n", bits(all.var(0).mean().sqrt()), probed);
  std::printf("| exact | 0 | %.2f |\n", whole);
  std::printf("\nmean of 8 probes less exact: %.5f; deviation over images: %.4f bits/dim\n",
              bits((all.mean(0) - exact).mean()), bits(exact.std()));
}

int run(int argc, char** argv) {
  if (argc < 3) throw ConfigError("usage: ode_solvers_benchmark SNAPSHOT DATA.h5 [IMAGES [EXACT]]");
  const int64_t images = argc > 3 ? std::stoll(argv[3]) : 16;
  const int64_t exact = argc > 4 ? std::stoll(argv[4]) : 0;
  const torch::NoGradGuard no_grad;
  const auto loaded = score::load_snapshot(argv[1], torch::kCPU);
  compare_solvers(problem_of(loaded, argv[2], images));
  if (exact > 0) compare_traces(problem_of(loaded, argv[2], exact));
  return 0;
}

}  // namespace
}  // namespace scorenet::benchmark

int main(int argc, char** argv) {
  try {
    return scorenet::benchmark::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ode_solvers_benchmark: %s\n", error.what());
    return 2;
  }
}
