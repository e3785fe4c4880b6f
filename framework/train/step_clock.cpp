#include "framework/train/step_clock.hpp"

#include <algorithm>

namespace scorenet::train {
namespace {

constexpr size_t kOwnPhases = 5;  // all but communication

void add_buckets(const reduce::ReducerStats& traffic, std::vector<perf::Span>& spans) {
  for (size_t b = 0; b < traffic.buckets.size(); ++b) {
    const reduce::BucketTimes& times = traffic.buckets[b];
    const auto span = [&](const char* what, double start_s, double end_s) {
      spans.push_back({"bucket " + std::to_string(b) + what, traffic.begin_wall_s + start_s,
                       traffic.begin_wall_s + end_s, perf::Track::buckets});
    };
    if (times.ready_s > 0) span(" ready", times.ready_s, times.start_s);
    span(" under way", times.start_s, times.done_s);
  }
}

}  // namespace

const char* name(StepPhase phase) {
  switch (phase) {
    case StepPhase::data:
      return "data";
    case StepPhase::forward:
      return "forward";
    case StepPhase::backward:
      return "backward";
    case StepPhase::update:
      return "update";
    case StepPhase::other:
      return "other";
    case StepPhase::communication:
      return "communication";
  }
  return "unknown";
}

void StepClock::begin_step(double data_wait_s) {
  phase_ = StepPhase::data;
  since_s_ = comm::wall_seconds() - data_wait_s;
  enter(StepPhase::other);
}

void StepClock::close() {
  const double now_s = comm::wall_seconds();
  sums_[static_cast<size_t>(phase_)] += now_s - since_s_;
  if (tracing()) spans_.push_back({name(phase_), since_s_, now_s});
  since_s_ = now_s;
}

void StepClock::enter(StepPhase phase) {
  close();
  phase_ = phase;
}

void StepClock::end_step(const reduce::ReducerStats& traffic) {
  close();
  ++steps_;
  if (!tracing()) return;
  add_buckets(traffic, spans_);
  --traced_left_;
}

PhaseSeconds StepClock::take() {
  PhaseSeconds means = sums_;
  for (double& seconds : means) seconds /= static_cast<double>(std::max<int64_t>(steps_, 1));
  sums_ = {};
  steps_ = 0;
  return means;
}

std::optional<perf::Straggler> find_straggler(const PhaseSeconds& mine, double excess,
                                              comm::Communicator& comm) {
  const auto ranks = static_cast<size_t>(comm.size());
  if (ranks == 1 || excess == 0) return std::nullopt;
  std::vector<double> all(kOwnPhases * ranks);
  std::array<double, kOwnPhases> own{};
  std::copy_n(mine.begin(), kOwnPhases, own.begin());
  comm.all_gather({own.data(), kOwnPhases, comm::DataType::float64},
                  {all.data(), static_cast<int64_t>(all.size()), comm::DataType::float64},
                  "phases of the steps")
      .wait();
  std::vector<std::string> phases;
  std::vector<std::vector<double>> seconds(kOwnPhases, std::vector<double>(ranks));
  for (size_t p = 0; p < kOwnPhases; ++p) {
    phases.emplace_back(name(static_cast<StepPhase>(p)));
    for (size_t r = 0; r < ranks; ++r) seconds[p][r] = all[r * kOwnPhases + p];
  }
  return perf::find_straggler(phases, seconds, excess);
}

}  // namespace scorenet::train
