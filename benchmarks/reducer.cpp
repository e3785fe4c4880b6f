// Gradient traffic four ways on the same network, interleaved: our reducer, LibTorch's
// c10d::Reducer (DDP), one all-reduce a tensor after backward, and one all-reduce for all.
//
//   OMP_NUM_THREADS=1 mpirun -n 2 reducer_benchmark
//       [small|large] [BATCH] [REPEATS] [CAP] [auto|on|off]
//
// CAP: of our buckets, MiB; by default 25, which is c10d's. auto, on, off: whether ours overlaps
// traffic with backward; auto, the default as in training, measures first. small: the
// Fashion-MNIST U-Net, 28x28x1. large: DDPM's for CIFAR-10, 36 M weights. Checks first that all
// four give the same gradients. With one rank: our reducer's own cost against bare backward.
// Prints medians of forward + backward + traffic, the slowest rank's time each, and the ratio to
// ours as the median over pairs.
#include <torch/utils.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "framework/comm/mpi_communicator.hpp"
#include "framework/core/allocator.hpp"
#include "framework/core/median.hpp"
#include "framework/reduce/c10d_reducer.hpp"
#include "framework/reduce/gradient_reducer.hpp"
#include "models/make_model.hpp"
#include "models/score_network.hpp"

namespace scorenet {
namespace {

std::shared_ptr<models::ScoreNetwork> network(bool large) {
  models::ModelOptions options;
  options.unet.attention = {false, false, true};
  if (large) {
    options.unet.channels = {128, 256, 256, 256};
    options.unet.layers_per_block = 2;
    options.unet.attention = {false, true, false, false};
    options.unet.attention_head_dim = 0;
    options.unet.norm_groups = 32;
  }
  auto model =
      large ? models::make_model(options, {3, 32, 32}) : models::make_model(options, {1, 28, 28});
  // The initial network is the zero function, whose gradients mostly vanish.
  const torch::NoGradGuard no_grad;
  torch::manual_seed(1);
  for (auto& p : model->parameters()) p.add_(0.02 * torch::randn_like(p));
  return model;
}

/// One way to get summed gradients. Each has its own copy of the network.
struct Way {
  std::string name;
  std::shared_ptr<models::ScoreNetwork> model;
  torch::Tensor flat;
  std::function<void()> before;
  std::function<void()> after;
  double scale = 1;  // of its gradients against a plain sum
  std::vector<double> seconds{};
};

void run(Way& way, const models::NetworkInput& input) {
  way.before();
  way.model->forward(input).square().sum().backward();
  way.after();
}

int benchmark(bool large, int64_t batch, int repeats, double cap_mib, reduce::Overlap overlap) {
  const comm::MpiEnvironment environment;
  const auto c = comm::make_mpi_communicator(environment);
  std::vector<Way> ways;
  std::vector<std::unique_ptr<reduce::GradientReducer>> reducers;
  std::unique_ptr<reduce::C10dReducer> rival;
  reduce::FlatLayout layout;
  for (const char* name : {"ours", "c10d", "per tensor", "one bucket", "no traffic"}) {
    Way way{name, network(large), {}, [] {}, [] {}};
    const auto parameters = way.model->parameters();
    std::vector<int64_t> sizes;
    for (const auto& p : parameters) sizes.push_back(p.numel());
    layout = reduce::make_flat_layout(sizes);
    way.flat = torch::zeros({layout.total});
    if (way.name == "c10d") {
      if (c->size() == 1) continue;
      rival = std::make_unique<reduce::C10dReducer>(parameters, *c);
      way.scale = c->size();
      way.before = [&rival] {
        rival->zero_gradients();
        rival->begin();
      };
      ways.push_back(way);
      continue;
    }
    reduce::ReducerOptions options;
    const auto cap_bytes = static_cast<int64_t>(cap_mib * 1048576);
    options.caps = {cap_bytes, int64_t{1} << 20, int64_t{1} << 20};
    if (way.name == "ours") options.overlap = overlap;
    if (way.name == "one bucket")
      options.caps = {int64_t{1} << 40, int64_t{1} << 40, int64_t{1} << 40};
    reducers.push_back(
        std::make_unique<reduce::GradientReducer>(parameters, way.flat, layout, *c, options));
    auto* reducer = reducers.back().get();
    const bool hooks = way.name == "ours" || way.name == "one bucket";
    way.before = [reducer, hooks] {
      reducer->zero_gradients();
      reducer->begin(hooks);
    };
    if (hooks) way.after = [reducer] { reducer->finish(); };
    if (way.name == "per tensor") {
      way.after = [parameters, &c] {
        for (const auto& p : parameters) {
          c->all_reduce({p.grad().data_ptr(), p.numel(), comm::DataType::float32},
                        comm::ReduceOp::sum, "tensor")
              .wait();
        }
      };
    }
    ways.push_back(way);
  }

  torch::manual_seed(100 + c->rank());
  models::NetworkInput input;
  input.x = large ? torch::randn({batch, 3, 32, 32}) : torch::randn({batch, 1, 28, 28});
  input.log_snr = torch::linspace(-5, 5, batch);
  for (int warm = 0; warm < 2; ++warm) {
    for (Way& way : ways) run(way, input);
  }
  while (c->size() > 1 && !reducers[0]->overlap().decided()) run(ways[0], input);
  for (const Way& way : ways) {
    if (way.name == "no traffic") continue;
    double difference = 0;
    for (size_t i = 0; i < way.model->parameters().size(); ++i) {
      const auto a = ways[0].model->parameters()[i].grad();
      const auto b = way.model->parameters()[i].grad() * way.scale;
      difference = std::max(difference, ((a - b).norm() / (a.norm() + 1e-12)).item<double>());
    }
    if (difference > 1e-4) {
      std::printf("rank %d: %s differs from ours by %g\n", c->rank(), way.name.c_str(), difference);
      c->abort(1);
    }
  }
  // In a random order, the same on all ranks: what runs before leaves its traces in the caches.
  std::vector<size_t> order(ways.size());
  std::iota(order.begin(), order.end(), 0);
  std::mt19937 random(1);
  for (int i = 0; i < repeats; ++i) {
    std::shuffle(order.begin(), order.end(), random);
    for (const size_t k : order) {
      Way& way = ways[k];
      c->barrier("pair").wait();
      const auto start = comm::Clock::now();
      run(way, input);
      double seconds = comm::seconds_since(start);
      c->all_reduce({&seconds, 1, comm::DataType::float64}, comm::ReduceOp::max, "time").wait();
      way.seconds.push_back(seconds);
    }
  }
  if (c->rank() == 0) {
    double load = 0;
    getloadavg(&load, 1);
    std::printf(
        "%s network, %.2f M weights, batch %lld a rank, %d ranks, %d interleaved rounds, load "
        "%.1f\n",
        large ? "large" : "small", double(layout.total) / 1e6, static_cast<long long>(batch),
        c->size(), repeats, load);
    for (const Way& way : ways) {
      std::vector<double> ratio;
      for (size_t i = 0; i < way.seconds.size(); ++i)
        ratio.push_back(way.seconds[i] / ways[0].seconds[i]);
      std::printf("%-12s median %9.2f ms (%.2f..%.2f)   over ours, median of pairs %.3f\n",
                  way.name.c_str(), median(way.seconds) * 1e3,
                  *std::min_element(way.seconds.begin(), way.seconds.end()) * 1e3,
                  *std::max_element(way.seconds.begin(), way.seconds.end()) * 1e3, median(ratio));
    }
    if (c->size() > 1) {
      const auto& stats = reducers[0]->stats();
      std::printf(
          "ours: %lld calls, %.2f MB, planned %zu buckets, %.2f MB; exposed %.2f ms in the last "
          "round\n",
          static_cast<long long>(stats.calls), double(stats.bytes) / 1e6,
          reducers[0]->buckets().size(), double(layout.total) * 4 / 1e6,
          stats.exposed_seconds * 1e3);
      std::printf("ours: traffic %s\n", reducers[0]->overlap().describe().c_str());
    }
  }
  c->barrier("end").wait();
  return 0;
}

}  // namespace
}  // namespace scorenet

int main(int argc, char** argv) {
  scorenet::tune_allocator();
  using scorenet::reduce::Overlap;
  const bool large = argc > 1 && std::string(argv[1]) == "large";
  const std::string overlap = argc > 5 ? argv[5] : "auto";
  return scorenet::benchmark(large, argc > 2 ? std::atoll(argv[2]) : 8,
                             argc > 3 ? std::atoi(argv[3]) : 9, argc > 4 ? std::atof(argv[4]) : 25,
                             overlap == "on"    ? Overlap::on
                             : overlap == "off" ? Overlap::off
                                                : Overlap::measured);
}
