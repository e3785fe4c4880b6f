#include "framework/data/batch_loader.hpp"

#include <chrono>
#include <string>
#include <utility>

#include "framework/core/error.hpp"
#include "framework/core/random.hpp"
#include "framework/data/transform.hpp"

namespace scorenet::data {
namespace {

void check(const LoaderOptions& options, int64_t first_step) {
  const auto require = [](bool holds, const std::string& name, int64_t value) {
    if (!holds) {
      throw ConfigError("batch loader: " + name + " = " + std::to_string(value) +
                        ", expected at least " + (name == "first step" ? "0" : "1") + ".");
    }
  };
  require(options.global_batch >= 1, "global batch", options.global_batch);
  require(options.depth >= 1, "depth", options.depth);
  require(first_step >= 0, "first step", first_step);
  shard(options.global_batch, options.rank, options.world_size);
}

}  // namespace

BatchLoader::BatchLoader(ReadSamples read, GlobalSampler sampler, const LoaderOptions& options,
                         int64_t first_step)
    : read_(std::move(read)), sampler_(std::move(sampler)), options_(options) {
  check(options, first_step);
  start(first_step);
}

BatchLoader::~BatchLoader() { stop(); }

void BatchLoader::start(int64_t first_step) {
  thread_ = std::jthread(
      [this, first_step](const std::stop_token& stopped) { read_ahead(stopped, first_step); });
}

void BatchLoader::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void BatchLoader::seek(int64_t step) {
  check(options_, step);
  stop();
  ready_.clear();
  failure_ = nullptr;
  start(step);
}

LoadedBatch BatchLoader::next() {
  const auto asked = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !ready_.empty() || failure_; });
  if (ready_.empty()) std::rethrow_exception(failure_);
  LoadedBatch batch = std::move(ready_.front());
  ready_.pop_front();
  lock.unlock();
  changed_.notify_all();
  batch.wait_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - asked).count();
  wait_seconds_ += batch.wait_seconds;
  return batch;
}

void BatchLoader::read_ahead(const std::stop_token& stopped, int64_t step) {
  try {
    for (; !stopped.stop_requested(); ++step) {
      LoadedBatch batch = load(step);
      std::unique_lock lock(mutex_);
      const auto room = [this] { return static_cast<int64_t>(ready_.size()) < options_.depth; };
      if (!changed_.wait(lock, stopped, room)) return;
      ready_.push_back(std::move(batch));
      lock.unlock();  // before the other thread wakes up and wants it
      changed_.notify_all();
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    changed_.notify_all();
  }
}

LoadedBatch BatchLoader::load(int64_t step) {
  LoadedBatch loaded;
  loaded.step = step;
  loaded.slots = shard(options_.global_batch, options_.rank, options_.world_size);
  const int64_t first = step * options_.global_batch + loaded.slots.begin;
  loaded.batch = read_(sampler_.indices(first, loaded.slots.size()));
  if (options_.horizontal_flip) {
    const auto slots = slot_range(loaded.slots.begin, loaded.slots.size());
    flip_for_slots(loaded.batch.examples, slots, options_.seed, step);
    for (auto& [name, values] : loaded.batch.conditions)
      if (values.dim() > 2) flip_for_slots(values, slots, options_.seed, step);  // fields
  }
  if (options_.finish) options_.finish(loaded);
  return loaded;
}

}  // namespace scorenet::data
