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

struct Arguments {
  bool large = false;
  int64_t batch = 8;
  int repeats = 9;
  double cap_mib = 25;
  reduce::Overlap overlap = reduce::Overlap::measured;
};

// One way to get summed gradients. Each has its own copy of the network.
struct Way {
  std::string name;
  std::shared_ptr<models::ScoreNetwork> model;
  torch::Tensor flat = {};
  std::function<void()> before = [] {};
  std::function<void()> after = [] {};
  double scale = 1;  // of its gradients against a plain sum
  std::vector<double> seconds{};
};

// All ways, ours first, and the reducers that they run.
struct Contest {
  std::vector<Way> ways;
  std::vector<std::unique_ptr<reduce::GradientReducer>> reducers;
  std::unique_ptr<reduce::C10dReducer> rival;
  reduce::FlatLayout layout;
};

void add_c10d(Contest& contest, Way way, comm::Communicator& c) {
  contest.rival = std::make_unique<reduce::C10dReducer>(way.model->parameters(), c);
  way.scale = c.size();
  way.before = [rival = contest.rival.get()] {
    rival->zero_gradients();
    rival->begin();
  };
  contest.ways.push_back(std::move(way));
}

// By a reducer of ours, whose hooks send buckets, or which only gives the gradients their memory.
void add_own(Contest& contest, Way way, const reduce::ReducerOptions& options, bool hooks,
             comm::Communicator& c) {
  const auto parameters = way.model->parameters();
  way.flat = torch::zeros({contest.layout.total});
  contest.reducers.push_back(
      std::make_unique<reduce::GradientReducer>(parameters, way.flat, contest.layout, c, options));
  way.before = [reducer = contest.reducers.back().get(), hooks] {
    reducer->zero_gradients();
    reducer->begin(hooks);
  };
  if (hooks) way.after = [reducer = contest.reducers.back().get()] { reducer->finish(); };
  if (way.name == "per tensor") {
    way.after = [parameters, &c] {
      for (const auto& p : parameters) {
        c.all_reduce({p.grad().data_ptr(), p.numel(), comm::DataType::float32}, comm::ReduceOp::sum,
                     "tensor")
            .wait();
      }
    };
  }
  contest.ways.push_back(std::move(way));
}

Contest contest_of(const Arguments& a, comm::Communicator& c) {
  Contest contest;
  std::vector<int64_t> sizes;
  for (const auto& p : network(a.large)->parameters()) sizes.push_back(p.numel());
  contest.layout = reduce::make_flat_layout(sizes);
  const auto cap_bytes = static_cast<int64_t>(a.cap_mib * 1048576);
  reduce::ReducerOptions usual, ours, one_bucket;
  usual.caps = {cap_bytes, int64_t{1} << 20, int64_t{1} << 20};
  ours = usual;
  ours.overlap = a.overlap;
  one_bucket.caps = {int64_t{1} << 40, int64_t{1} << 40, int64_t{1} << 40};
  add_own(contest, {"ours", network(a.large)}, ours, true, c);
  if (c.size() > 1) add_c10d(contest, {"c10d", network(a.large)}, c);
  add_own(contest, {"per tensor", network(a.large)}, usual, false, c);
  add_own(contest, {"one bucket", network(a.large)}, one_bucket, true, c);
  add_own(contest, {"no traffic", network(a.large)}, usual, false, c);
  return contest;
}

void run(Way& way, const models::NetworkInput& input) {
  way.before();
  way.model->forward(input).square().sum().backward();
  way.after();
}

// Ends the job where a way's gradients are not ours.
void check_gradients(const std::vector<Way>& ways, comm::Communicator& c) {
  for (const Way& way : ways) {
    if (way.name == "no traffic") continue;
    double difference = 0;
    for (size_t i = 0; i < way.model->parameters().size(); ++i) {
      const auto a = ways[0].model->parameters()[i].grad();
      const auto b = way.model->parameters()[i].grad() * way.scale;
      difference = std::max(difference, ((a - b).norm() / (a.norm() + 1e-12)).item<double>());
    }
    if (difference <= 1e-4) continue;
    std::printf("rank %d: %s differs from ours by %g\n", c.rank(), way.name.c_str(), difference);
    c.abort(1);
  }
}

// In a random order, the same on all ranks: what runs before leaves its traces in the caches.
void time_rounds(std::vector<Way>& ways, const models::NetworkInput& input, int rounds,
                 comm::Communicator& c) {
  std::vector<size_t> order(ways.size());
  std::iota(order.begin(), order.end(), 0);
  std::mt19937 random(1);
  for (int i = 0; i < rounds; ++i) {
    std::shuffle(order.begin(), order.end(), random);
    for (const size_t k : order) {
      c.barrier("pair").wait();
      const auto start = comm::Clock::now();
      run(ways[k], input);
      double seconds = comm::seconds_since(start);
      c.all_reduce({&seconds, 1, comm::DataType::float64}, comm::ReduceOp::max, "time").wait();
      ways[k].seconds.push_back(seconds);
    }
  }
}

void print_times(const Contest& contest, const Arguments& a, int ranks) {
  double load = 0;
  getloadavg(&load, 1);
  const auto weights = static_cast<double>(contest.layout.total);
  std::printf(
      "%s network, %.2f M weights, batch %lld a rank, %d ranks, %d interleaved rounds, load "
      "%.1f\n",
      a.large ? "large" : "small", weights / 1e6, static_cast<long long>(a.batch), ranks, a.repeats,
      load);
  const std::vector<double>& ours = contest.ways[0].seconds;
  for (const Way& way : contest.ways) {
    std::vector<double> ratio;
    for (size_t i = 0; i < way.seconds.size(); ++i) ratio.push_back(way.seconds[i] / ours[i]);
    const auto [least, most] = std::minmax_element(way.seconds.begin(), way.seconds.end());
    std::printf("%-12s median %9.2f ms (%.2f..%.2f)   over ours, median of pairs %.3f\n",
                way.name.c_str(), median(way.seconds) * 1e3, *least * 1e3, *most * 1e3,
                median(ratio));
  }
  if (ranks == 1) return;
  const reduce::GradientReducer& reducer = *contest.reducers[0];
  const auto& stats = reducer.stats();
  std::printf(
      "ours: %lld calls, %.2f MB, planned %zu buckets, %.2f MB; exposed %.2f ms in the last "
      "round\n",
      static_cast<long long>(stats.calls), static_cast<double>(stats.bytes) / 1e6,
      reducer.buckets().size(), weights * 4 / 1e6, stats.exposed_seconds * 1e3);
  std::printf("ours: traffic %s\n", reducer.overlap().describe().c_str());
}

int benchmark(const Arguments& a) {
  const comm::MpiEnvironment environment;
  const auto c = comm::make_mpi_communicator(environment);
  Contest contest = contest_of(a, *c);
  torch::manual_seed(100 + c->rank());
  models::NetworkInput input;
  input.x = a.large ? torch::randn({a.batch, 3, 32, 32}) : torch::randn({a.batch, 1, 28, 28});
  input.log_snr = torch::linspace(-5, 5, a.batch);
  for (int warm = 0; warm < 2; ++warm) {
    for (Way& way : contest.ways) run(way, input);
  }
  while (c->size() > 1 && !contest.reducers[0]->overlap().decided()) run(contest.ways[0], input);
  check_gradients(contest.ways, *c);
  time_rounds(contest.ways, input, a.repeats, *c);
  if (c->rank() == 0) print_times(contest, a, c->size());
  c->barrier("end").wait();
  return 0;
}

}  // namespace
}  // namespace scorenet

int main(int argc, char** argv) {
  scorenet::tune_allocator();
  using scorenet::reduce::Overlap;
  scorenet::Arguments a;
  a.large = argc > 1 && std::string(argv[1]) == "large";
  if (argc > 2) a.batch = std::atoll(argv[2]);
  if (argc > 3) a.repeats = std::atoi(argv[3]);
  if (argc > 4) a.cap_mib = std::atof(argv[4]);
  const std::string overlap = argc > 5 ? argv[5] : "auto";
  if (overlap != "auto") a.overlap = overlap == "on" ? Overlap::on : Overlap::off;
  return scorenet::benchmark(a);
}
