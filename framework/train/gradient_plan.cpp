#include "framework/train/gradient_plan.hpp"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/cuda.h>

#include <algorithm>
#include <cstdio>

#include "framework/core/check.hpp"
#include "framework/optim/flat_parameters.hpp"
#include "framework/reduce/shards.hpp"
#include "framework/score/told_conditions.hpp"

namespace scorenet::train {
namespace {

// Notes when a parameter's gradient is there.
class ReadyHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  ReadyHook(Rehearsal& rehearsal, int64_t index, const comm::Clock::time_point& start)
      : rehearsal_(rehearsal), index_(index), start_(start) {}
  void operator()(const torch::autograd::Variable&) override {
    rehearsal_.order.push_back(index_);
    rehearsal_.ready_s.push_back(comm::seconds_since(start_));
  }

 private:
  Rehearsal& rehearsal_;
  int64_t index_;
  const comm::Clock::time_point& start_;
};

torch::Tensor noise_batch(c10::IntArrayRef example_shape, int64_t batch, torch::Device device) {
  const RandomKey key{0, RandomStream::training_noise, 0};
  return normal_for_slots(key, slot_range(0, batch), example_shape, torch::kFloat32, device);
}

double finished_s(comm::Clock::time_point start, torch::Device device) {
  if (device.is_cuda()) torch::cuda::synchronize(device.index());
  return comm::seconds_since(start);
}

reduce::BucketCaps given_caps(const config::CommConfig& c) {
  const auto bytes = [](double mib) { return static_cast<int64_t>(mib * 1048576.0); };
  return {bytes(c.bucket_mb), bytes(c.first_bucket_mb), bytes(c.last_bucket_mb)};
}

int64_t examples_at_once(const config::TrainConfig& train, int ranks) {
  const int64_t local = std::max<int64_t>(1, train.batch_size / ranks);
  return train.micro_batch > 0 ? std::min(train.micro_batch, local) : local;
}

// Rank zero's choice for the measured link and backward pass. Collective.
void choose_caps(const score::ScoreModel& model, c10::IntArrayRef example_shape,
                 const std::vector<int64_t>& sizes, comm::Communicators& comms,
                 GradientPlan& plan) {
  const perf::LinkModel link = measure_link(comms, model.device);
  const Rehearsal rehearsal =
      rehearse(model, example_shape, examples_at_once(model.config.train, comms.host->size()));
  plan.caps = perf::choose_caps(step_costs(rehearsal, sizes, 0), {link}, comms.host->size());
  comms.host->broadcast({&plan.caps, 3, comm::DataType::int64}, 0, "bucket caps").wait();
  char text[160];
  std::snprintf(text, sizeof text,
                "chosen for %.1f us latency, %.3f GB/s per rank and a backward pass of %.1f ms",
                1e6 * link.latency_s, 1e-9 * link.bandwidth_bytes_per_s,
                1e3 * rehearsal.backward_s);
  plan.reason = text;
}

}  // namespace

Rehearsal rehearse(const score::ScoreModel& model, c10::IntArrayRef example_shape, int64_t batch) {
  Rehearsal rehearsal;
  std::vector<torch::Tensor> parameters;
  for (const auto& [name, parameter] : score::named_parameters(model))
    parameters.push_back(parameter);
  comm::Clock::time_point start = comm::Clock::now();
  for (size_t i = 0; i < parameters.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(
        parameters[i], std::make_unique<ReadyHook>(rehearsal, static_cast<int64_t>(i), start));
  }
  const torch::Tensor x = noise_batch(example_shape, batch, model.device);
  const torch::Tensor log_snr = torch::linspace(-5, 5, batch, torch::kFloat64).to(model.device);
  const models::Conditions nothing = score::told_nothing(model, batch);
  const torch::Tensor loss = score::network_for(model, nothing, nullptr)(x, log_snr).square().sum();
  rehearsal.forward_s = finished_s(start, model.device);
  start = comm::Clock::now();
  loss.backward();
  const double host_s = comm::seconds_since(start);
  rehearsal.backward_s = finished_s(start, model.device);
  // On a GPU the hooks tell when work was queued: stretched to when it was done.
  for (double& ready : rehearsal.ready_s) ready *= rehearsal.backward_s / host_s;
  std::vector<bool> seen(parameters.size(), false);
  for (const int64_t i : rehearsal.order) seen[static_cast<size_t>(i)] = true;
  for (size_t i = parameters.size(); i-- > 0;) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameters[i], nullptr);
    parameters[i].mutable_grad() = torch::Tensor();
    if (seen[i]) continue;
    rehearsal.order.push_back(static_cast<int64_t>(i));
    rehearsal.ready_s.push_back(rehearsal.backward_s);
  }
  return rehearsal;
}

perf::StepCosts step_costs(const Rehearsal& rehearsal, const std::vector<int64_t>& sizes,
                           double optimizer_s) {
  perf::StepCosts costs;
  costs.forward_s = rehearsal.forward_s;
  costs.optimizer_s = optimizer_s;
  double before = 0;
  for (size_t k = 0; k < rehearsal.order.size(); ++k) {
    costs.parameters.push_back(
        {sizes[static_cast<size_t>(rehearsal.order[k])], rehearsal.ready_s[k] - before});
    before = rehearsal.ready_s[k];
  }
  std::reverse(costs.parameters.begin(), costs.parameters.end());
  return costs;
}

perf::LinkModel measure_link(comm::Communicators& comms, torch::Device device) {
  constexpr int kRepetitions = 5;
  const std::vector<int64_t> sizes = {int64_t{16} << 10, int64_t{1} << 20, int64_t{8} << 20};
  const torch::Tensor memory =
      torch::zeros({sizes.back() / 4}, torch::dtype(torch::kFloat32).device(device));
  return perf::fit_link(
      perf::measure_all_reduce(comms.bulk(), *comms.host, memory.data_ptr(), sizes, kRepetitions),
      comms.host->size());
}

GradientPlan plan_gradients(const score::ScoreModel& model, c10::IntArrayRef example_shape,
                            comm::Communicators& comms) {
  GradientPlan plan{{}, {}, given_caps(model.config.comm), "given"};
  const std::vector<int64_t> sizes = optim::parameter_sizes(score::named_parameters(model));
  std::vector<int64_t> order = rehearse(model, example_shape, 1).order;
  comms.host
      ->broadcast({order.data(), static_cast<int64_t>(order.size()), comm::DataType::int64}, 0,
                  "order of gradients")
      .wait();
  plan.layout = reduce::make_flat_layout(sizes, order, reduce::kFlatAlignment);
  const int ranks = comms.host->size();
  if (model.config.comm.bucket_mb == 0 && ranks > 1)
    choose_caps(model, example_shape, sizes, comms, plan);
  // One rank sends nothing: the default caps serve.
  if (model.config.comm.bucket_mb == 0 && ranks == 1) plan.caps = given_caps({});
  plan.buckets = reduce::plan_buckets(plan.layout, sizeof(float), plan.caps);
  if (model.config.train.shard_optimizer) {
    auto spread =
        reduce::spread_buckets(plan.layout, plan.buckets, reduce::shardable_multiple(ranks));
    plan.layout = std::move(spread.layout);
    plan.buckets = std::move(spread.buckets);
  }
  return plan;
}

std::string describe(const GradientPlan& plan, const config::Config& config) {
  if (config.comm.canonical) {
    return "summed in " + std::to_string(config.comm.virtual_shards) +
           " virtual shards along one tree: the same bits at any rank count";
  }
  char caps[96];
  std::snprintf(caps, sizeof caps, " buckets of at most %g MiB, first %g, last %g (",
                static_cast<double>(plan.caps.cap_bytes) / 1048576.0,
                static_cast<double>(plan.caps.first_bytes) / 1048576.0,
                static_cast<double>(plan.caps.last_bytes) / 1048576.0);
  return std::to_string(plan.buckets.size()) + caps + plan.reason + "), " +
         (config.train.shard_optimizer        ? "optimizer and averages sharded"
          : config.comm.compression != "none" ? "sent as " + config.comm.compression
                                              : "all-reduced");
}

}  // namespace scorenet::train
