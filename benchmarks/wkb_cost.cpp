// Cost of the `wkb` estimate beside `ode` at the same number of RK4 steps on a U-Net, and its
// memory against the number of steps. Run it once a row: the peak of a process never falls.
//
//   OMP_NUM_THREADS=1 wkb_cost_benchmark ode|wkb STEPS [BATCH]
//
// Measured on one core of a shared two-core machine, CPU seconds an image: batch 4, 40 steps: ode
// 2.2, wkb 15.9 (7.3 times); batch 8, 20 steps: 0.96 and 7.5 (7.8 times). Peak memory of wkb above
// the network's: 137 MiB at 4 steps, 136 at 40.
//
// 28x28x1, channels 32, 64, 64, attention at 7x7 (the quickstart's network), weights
// in general position.
#include <torch/utils.h>

#include <cmath>
#include <cstdio>
#include <string>

#include "benchmarks/process_usage.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/diffusion/likelihood/wkb.hpp"
#include "framework/diffusion/preconditioning.hpp"
#include "models/make_model.hpp"
#include "models/score_network.hpp"

namespace scorenet {
namespace {

using diffusion::LikelihoodResult;

// The initial network is the zero function, whose derivatives cost nothing.
void perturb(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  uint64_t step = 0;
  for (auto& p : module.parameters()) {
    p += 0.02 * normal_for_slots({1, RandomStream::synthetic_data, step++}, {0}, p.sizes(),
                                 torch::kFloat32)[0];
    p.requires_grad_(false);
  }
}

diffusion::Denoiser small_unet() {
  models::ModelOptions options;
  options.unet.attention = {false, false, true};
  const auto network = models::make_model(options, {1, 28, 28});
  perturb(*network);
  network->eval();
  const diffusion::Network call = [network](const torch::Tensor& x, const torch::Tensor& log_snr) {
    return network->forward({x.to(torch::kFloat32), log_snr, {}, nullptr});
  };
  return diffusion::make_denoiser(call, {diffusion::Prediction::v, 0.5});
}

int run(const std::string& what, int64_t steps, int64_t batch) {
  const auto denoiser = small_unet();
  const auto schedule = diffusion::make_schedule({});
  const auto slots = slot_range(0, batch);
  const auto x =
      normal_for_slots({2, RandomStream::synthetic_data, 0}, slots, {1, 28, 28}, torch::kFloat64);
  const double before = peak_mib();
  const double start = cpu_seconds();
  LikelihoodResult result;
  if (what == "wkb") {
    diffusion::WkbProbeOptions options;
    options.steps = steps;
    result = wkb_probed(denoiser, *schedule, x, slots, options);
  } else {
    diffusion::OdeLikelihoodOptions options;
    options.steps = steps;
    result = ode_likelihood(denoiser, *schedule, x, slots, options);
  }
  const double seconds = cpu_seconds() - start;
  std::printf(
      "%s steps %ld batch %ld: %.3f CPU s per image, nfe %.0f, peak memory %.0f MiB above %.0f, "
      "finite %s\n",
      what.c_str(), static_cast<long>(steps), static_cast<long>(batch),
      seconds / static_cast<double>(batch), result.nfe[0].item<double>(), peak_mib() - before,
      before, torch::isfinite(result.nats).all().item<bool>() ? "yes" : "no");
  return 0;
}

}  // namespace
}  // namespace scorenet

int main(int argc, char** argv) {
  if (argc < 3 || (std::string(argv[1]) != "ode" && std::string(argv[1]) != "wkb")) {
    std::fprintf(stderr, "usage: wkb_cost_benchmark ode|wkb STEPS [BATCH]\n");
    return 2;
  }
  return scorenet::run(argv[1], std::stol(argv[2]), argc > 3 ? std::stol(argv[3]) : 8);
}
