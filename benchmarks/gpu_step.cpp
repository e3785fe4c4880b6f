// The training step of the program itself (train::Learner) on the device at hand, without files:
// random images from memory, all else as the config says.
//
//   gpu_step_benchmark CONFIG [--shape 3,32,32] [--batch N] [--steps N] [--warmup N] [--loader]
//                      [--profile FILE] [--peak] [--section.key value ...]
//
// Prints one line of JSON. Steps are not waited for one by one: host_* is how often run() returns,
// median_ms, p10_ms and p90_ms lie between the ends of steps on the device (on a CPU both are the
// same), images_per_s is the wall clock's over all of them. --loader: a loader's thread delivers
// the images; else every step copies one batch. --profile: three more steps into a trace for
// benchmarks/peers/gpu/kernel_shares.py. tflops counts the matrix products and convolutions of the
// network, three times those of a forward pass; --peak: beside it what a product of two bf16
// matrices of 8192 x 8192 reaches before the steps.
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "benchmarks/timed_run.hpp"
#include "framework/core/error.hpp"
#include "framework/train/learner.hpp"
#include "framework/train/train_precision.hpp"
#include "models/autocast.hpp"
#include "models/flops.hpp"
#include "models/score_network.hpp"

namespace scorenet::benchmark {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct Options : TimedOptions {
  std::string profile;
  int64_t steps = 50, warmup = 20;
  bool loader = false, peak = false;
};

// As many images as batches are read ahead of a step, so that each comes from other memory.
torch::Tensor random_images(const Options& o, const config::Config& config) {
  std::vector<int64_t> sizes = o.shape;
  sizes.insert(sizes.begin(), 8 * config.train.batch_size);
  return torch::randint(0, 256, sizes, torch::kUInt8);
}

data::Batch rows_of(const torch::Tensor& images, int64_t classes,
                    const std::vector<int64_t>& indices) {
  const auto rows = torch::tensor(indices, torch::kInt64);
  return {images.index_select(0, rows), classes > 0 ? rows % classes : torch::Tensor(), indices};
}

// Batches step after step, from a loader's thread or the same one always.
class Source {
 public:
  Source(torch::Tensor images, const config::Config& config, bool loader)
      : read_([images, classes = config.model.num_classes](const std::vector<int64_t>& indices) {
          return rows_of(images, classes, indices);
        }) {
    const int64_t batch = config.train.batch_size;
    const auto seed = static_cast<uint64_t>(config.train.seed);
    if (loader) {
      loader_.emplace(
          read_, data::GlobalSampler(images.size(0), {.seed = seed}),
          data::LoaderOptions{batch, 0, 1, config.data.prefetch, config.data.flip, seed});
    }
    batch_.slots = {0, batch};
    batch_.batch = read_(slot_range(0, batch));
  }

  const data::LoadedBatch& next() {
    if (loader_) batch_ = loader_->next();
    return batch_;
  }

 private:
  data::ReadSamples read_;
  data::LoadedBatch batch_;
  std::optional<data::BatchLoader> loader_;
};

// Moments in the work that the device was given; where that is the CPU, of the clock.
class Marks {
 public:
  explicit Marks(torch::Device device) : device_(device) {}

  void mark() {
    host_.push_back(Clock::now());
    if (device_.is_cpu()) return;
    const c10::impl::VirtualGuardImpl guard(device_.type());
    device_marks_.emplace_back(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
    device_marks_.back().record(guard.getStream(device_));
  }

  std::vector<double> host_ms() const {
    std::vector<double> ms;
    for (size_t i = 1; i < host_.size(); ++i)
      ms.push_back(1e3 * std::chrono::duration<double>(host_[i] - host_[i - 1]).count());
    return ms;
  }

  // Of a device that has come to the last mark.
  std::vector<double> device_ms() const {
    if (device_.is_cpu()) return host_ms();
    std::vector<double> ms;
    for (size_t i = 1; i < device_marks_.size(); ++i)
      ms.push_back(device_marks_[i - 1].elapsedTime(device_marks_[i]));
    return ms;
  }

 private:
  torch::Device device_;
  std::vector<Clock::time_point> host_;
  std::vector<c10::Event> device_marks_;
};

// Of the timed steps: what was in use, and what the allocator held.
class MemoryPeak {
 public:
  explicit MemoryPeak(torch::Device device) : device_(device) {
    if (!device_.is_cpu()) c10::getDeviceAllocator(device_.type())->resetPeakStats(device_.index());
  }

  void add_to(Json& line) const {
    if (device_.is_cpu()) return;
    const auto stats = c10::getDeviceAllocator(device_.type())->getDeviceStats(device_.index());
    line["peak_memory_mib"] = stats.allocated_bytes[0].peak >> 20;  // [0]: of all sizes
    line["peak_reserved_mib"] = stats.reserved_bytes[0].peak >> 20;
  }

 private:
  torch::Device device_;
};

void trace(const std::function<void()>& three_steps, torch::Device device,
           const std::string& path) {
  using torch::profiler::impl::ActivityType;
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  std::set<ActivityType> activities = {ActivityType::CPU};
  if (device.is_cuda()) activities.insert(ActivityType::CUDA);
  torch::autograd::profiler::prepareProfiler(config, activities);
  torch::autograd::profiler::enableProfiler(config, activities);
  three_steps();
  synchronize(device);
  torch::autograd::profiler::disableProfiler()->save(path);
}

Json first_words(const Options& o, const train::Learner& learner) {
  const score::ScoreModel& model = learner.model;
  models::ScoreNetwork& network = *model.trained().network;
  return {{"program", "scorenet"},
          {"config", o.config_path},
          {"weights", models::parameter_count(network)},
          {"batch", model.config.train.batch_size},
          {"precision", models::precision_name(model.compute_dtype)},
          {"loader", o.loader},
          {"gflop_forward", rounded(1e-9 * models::forward_flops(network, model.example_shape))}};
}

// TFLOP/s of ten products after three, random numbers: zeros would be faster.
double matrix_peak(torch::Device device) {
  constexpr int64_t kSide = 8192;
  const auto options = torch::dtype(torch::kBFloat16).device(device);
  const torch::Tensor a = torch::randn({kSide, kSide}, options), b = torch::randn_like(a);
  torch::Tensor out = torch::empty_like(a);
  for (int i = 0; i < 3; ++i) at::matmul_out(out, a, b);
  synchronize(device);
  const auto start = Clock::now();
  for (int i = 0; i < 10; ++i) at::matmul_out(out, a, b);
  synchronize(device);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return 10 * 2e-12 * std::pow(static_cast<double>(kSide), 3) / seconds;
}

void measure(const Options& o, train::Learner& learner, Source& source, Json& line) {
  const torch::Device device = learner.model.device;
  int64_t step = 0;
  const auto take_steps = [&](int64_t count, Marks* marks) {
    for (int64_t i = 0; i < count; ++i) {
      learner.step->run(source.next(), step++, {});
      if (marks) marks->mark();
    }
  };
  take_steps(o.warmup, nullptr);
  synchronize(device);
  const MemoryPeak memory(device);
  Marks marks(device);
  const auto start = Clock::now();
  marks.mark();
  take_steps(o.steps, &marks);
  synchronize(device);
  const double wall_s = std::chrono::duration<double>(Clock::now() - start).count();

  line["steps"] = o.steps;
  line["median_ms"] = rounded(quantile(marks.device_ms(), 0.5));
  line["p10_ms"] = rounded(quantile(marks.device_ms(), 0.1));
  line["p90_ms"] = rounded(quantile(marks.device_ms(), 0.9));
  line["host_median_ms"] = rounded(quantile(marks.host_ms(), 0.5));
  const auto images = static_cast<double>(learner.model.config.train.batch_size * o.steps);
  line["images_per_s"] = rounded(images / wall_s);
  line["tflops"] = rounded(3e-3 * line["gflop_forward"].get<double>() * images / wall_s);
  memory.add_to(line);
  if (!o.profile.empty()) trace([&] { take_steps(3, nullptr); }, device, o.profile);
}

// A run of numbers that are not finite skips its updates, and would look fast.
void check_weights(const train::Learner& learner) {
  const torch::Tensor& weights = learner.parameters.values();
  if (!torch::isfinite(weights).all().item<bool>())
    throw NotFiniteError("weights after the last step: not all finite. Lower the learning rate.");
}

int run(const Options& o, const std::vector<std::string>& overrides) {
  const torch::Device device = device_at_hand();
  const config::Config config = config_of(o.config_path, overrides, o.batch);
  comm::Communicators comms = comm::make_communicators({.backend = "single"});
  score::ScoreModel model = score::build_model(config, o.shape, device);
  model.compute_dtype =
      models::compute_dtype(train::settled_precision(config, device, *comms.host));
  train::Learner learner(std::move(model), /*levels=*/256, comms);
  Source source(random_images(o, config), config, o.loader);

  Json line = first_words(o, learner);
  if (o.peak) line["matrix_peak_tflops"] = rounded(matrix_peak(device));
  measure(o, learner, source, line);
  check_weights(learner);
  line["device"] = device.is_cuda() ? "cuda" : "cpu";
  std::cout << line << std::endl;
  return 0;
}

}  // namespace
}  // namespace scorenet::benchmark

int main(int argc, char** argv) {
  scorenet::benchmark::Options o;
  CLI::App app("one training step of a config's network, timed", "gpu_step_benchmark");
  app.add_option("--steps", o.steps, "steps to time")->check(CLI::PositiveNumber);
  app.add_option("--warmup", o.warmup, "steps before them")->check(CLI::NonNegativeNumber);
  app.add_flag("--loader", o.loader,
               "images through a loader's thread, flipped as the config says");
  app.add_option("--profile", o.profile, "trace three more steps into FILE");
  app.add_flag("--peak", o.peak, "also time a product of two large bf16 matrices");
  return scorenet::benchmark::timed_main(argc, argv, app, o, scorenet::benchmark::run);
}
