// What a trained network is asked for, on the device at hand: samples, likelihoods along the flow,
// and the bound's diffusion term at eight random times an image. Weights are fresh and the images
// random; all else as the config says.
//
//   evaluation_benchmark CONFIG --what heun18|ode|elbo [--shape 3,32,32] [--batch N] [--batches N]
//                            [--rk4-steps N] [--section.key value ...]
//
// Prints one line of JSON. A batch is what is timed; the first two are not. network_images_per_s
// counts images times evaluations; an evaluation of ode includes the gradient of one probe. The
// peer: benchmarks/peers.
#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "benchmarks/timed_run.hpp"
#include "framework/core/error.hpp"
#include "framework/core/pixels.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/likelihood/diffusion_term.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/diffusion/sampler/sampler.hpp"
#include "framework/score/score_model.hpp"
#include "models/score_network.hpp"

namespace scorenet::benchmark {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct Options : TimedOptions {
  std::string what = "heun18";
  int64_t batches = 3, rk4_steps = 10;
};

// Serves a batch and returns how often it passed the network.
using Work = std::function<double()>;

Work samples(const score::ScoreModel& model, const Options& o) {
  return [&model, &o] {
    const auto seeds = slot_range(0, model.config.train.batch_size);
    const auto start = diffusion::draw_start(*model.schedule, seeds, o.shape, 0, model.device);
    const auto result =
        diffusion::sample(score::denoiser_for(model), *model.schedule,
                          {.name = "heun", .steps = 18, .spacing = "edm"}, start,
                          diffusion::make_slot_noise(seeds, o.shape, 0, model.device));
    return result.nfe;
  };
}

void require_finite(const torch::Tensor& nats) {
  if (!torch::isfinite(nats).all().item<bool>())
    throw NotFiniteError("likelihoods of the benchmark: not all finite.");
}

constexpr int64_t kTimes = 8;  // of elbo, as the peer's

torch::Tensor random_images(const score::ScoreModel& model, const Options& o) {
  std::vector<int64_t> sizes = o.shape;
  sizes.insert(sizes.begin(), model.config.train.batch_size);
  const auto bytes = torch::randint(0, 256, sizes, torch::device(model.device));
  return data_from_pixels(bytes, torch::kFloat32);
}

Work bounds(const score::ScoreModel& model, const Options& o) {
  return [&model, &o] {
    const auto slots = slot_range(0, model.config.train.batch_size);
    const auto term =
        diffusion::drawn_diffusion_term(score::denoiser_for(model), *model.schedule,
                                        random_images(model, o), slots, {.time_samples = kTimes});
    require_finite(term.nats);
    return term.nfe.mean().item<double>();
  };
}

Work likelihoods(const score::ScoreModel& model, const Options& o) {
  return [&model, &o] {
    const int64_t batch = model.config.train.batch_size;
    const auto x = random_images(model, o).to(torch::kFloat64);
    const auto result = diffusion::ode_likelihood(score::denoiser_for(model), *model.schedule, x,
                                                  slot_range(0, batch), {.steps = o.rk4_steps});
    require_finite(result.nats);
    return result.nfe.mean().item<double>();
  };
}

int run(const Options& o, const std::vector<std::string>& overrides) {
  const torch::Device device = device_at_hand();
  const config::Config config = config_of(o.config_path, overrides, o.batch);
  const score::ScoreModel model = score::build_model(config, o.shape, device);
  for (const auto& p : model.trained().network->parameters()) p.detach().requires_grad_(false);
  const Work work = o.what == "ode"    ? likelihoods(model, o)
                    : o.what == "elbo" ? bounds(model, o)
                                       : samples(model, o);
  for (int k = 0; k < 2; ++k) work();
  synchronize(device);
  const auto start = Clock::now();
  double evaluations = 0;
  for (int64_t k = 0; k < o.batches; ++k) evaluations += work();
  synchronize(device);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const auto images = static_cast<double>(config.train.batch_size);
  std::cout << Json{{"program", "scorenet"},
                    {"what", o.what},
                    {"config", o.config_path},
                    {"batch", config.train.batch_size},
                    {"precision", config.train.precision},
                    {"batches", o.batches},
                    {"seconds_a_batch", rounded(seconds / static_cast<double>(o.batches))},
                    {"images_per_s", rounded(images * static_cast<double>(o.batches) / seconds)},
                    {"network_images_per_s", rounded(images * evaluations / seconds)},
                    {"device", device.is_cuda() ? "cuda" : "cpu"}}
            << std::endl;
  return 0;
}

}  // namespace
}  // namespace scorenet::benchmark

int main(int argc, char** argv) {
  scorenet::benchmark::Options o;
  CLI::App app("samples or likelihoods of a config's network, timed", "evaluation_benchmark");
  app.add_option("--what", o.what, "what is timed")
      ->check(CLI::IsMember({"heun18", "ode", "elbo"}));
  app.add_option("--batches", o.batches, "how many to time")->check(CLI::PositiveNumber);
  app.add_option("--rk4-steps", o.rk4_steps, "of ode: a quarter of its evaluations")
      ->check(CLI::PositiveNumber);
  return scorenet::benchmark::timed_main(argc, argv, app, o, scorenet::benchmark::run);
}
