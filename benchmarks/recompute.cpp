// One training step with and without model.recompute: time and the most memory. Run it once a row:
// the peak of a process never falls.
//
//   OMP_NUM_THREADS=1 recompute_benchmark kept|again [image|volume] [BATCH] [REPEATS]
//
// image: 3 x 32 x 32, channels 64, 128, 128, two layers a block; volume: 1 x 24 x 24 x 24, channels
// 16, 32, 32. Memory is what the peak of the process rises by from before the first step.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "benchmarks/process_usage.hpp"
#include "framework/core/allocator.hpp"
#include "framework/core/random.hpp"
#include "models/make_model.hpp"
#include "models/score_network.hpp"

namespace scorenet {
namespace {

std::shared_ptr<models::ScoreNetwork> network_of(const std::string& size, bool recompute,
                                                 const std::vector<int64_t>& shape) {
  models::ModelOptions options;
  options.unet.channels =
      size == "volume" ? std::vector<int64_t>{16, 32, 32} : std::vector<int64_t>{64, 128, 128};
  options.unet.layers_per_block = size == "volume" ? 1 : 2;
  options.unet.norm_groups = 8;
  options.unet.attention = {false, false, false};
  options.unet.recompute = recompute;
  return models::make_model(options, shape);
}

int run(bool recompute, const std::string& size, int64_t batch, int repeats) {
  const std::vector<int64_t> shape =
      size == "volume" ? std::vector<int64_t>{1, 24, 24, 24} : std::vector<int64_t>{3, 32, 32};
  const auto network = network_of(size, recompute, shape);
  models::NetworkInput input;
  input.x = normal_for_slots({1, RandomStream::training_noise, 0}, slot_range(0, batch), shape,
                             torch::kFloat32);
  input.log_snr = torch::linspace(-8, 8, batch, torch::kFloat64);
  const double before = peak_mib();
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    network->zero_grad();
    const double start = cpu_seconds();
    network->forward(input).square().mean().backward();
    seconds.push_back(cpu_seconds() - start);
  }
  std::sort(seconds.begin(), seconds.end());
  std::printf("%s %s, batch %lld: %.2f CPU s a step (%.2f to %.2f), %.0f MiB above %.0f\n",
              recompute ? "again" : "kept", size.c_str(), static_cast<long long>(batch),
              seconds[seconds.size() / 2], seconds.front(), seconds.back(), peak_mib() - before,
              before);
  return 0;
}

}  // namespace
}  // namespace scorenet

int main(int argc, char** argv) {
  scorenet::tune_allocator();
  const std::string how = argc > 1 ? argv[1] : "kept", size = argc > 2 ? argv[2] : "image";
  const int64_t batch = argc > 3 ? std::stoll(argv[3]) : (size == "volume" ? 4 : 32);
  return scorenet::run(how == "again", size, batch, argc > 4 ? std::stoi(argv[4]) : 5);
}
