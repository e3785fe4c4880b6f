// scorenet plan: what data-parallel training of a config would gain on more ranks. Predicted,
// and labelled so.
//
//   mpirun -n 4 scorenet plan CONFIG                       the link between the ranks present
//   scorenet plan CONFIG --bandwidth 45 --latency 6        a link that is not here
//   scorenet plan CONFIG --shape 3,32,32 --bandwidth 45 --step-time 46
//                                                          and a faster device: the measured
//                                                          profile, scaled
// Weak scaling: every rank computes --batch images a step (default: what a rank of
// this start would). Beside that, how many images a rank of this machine can compute at once.
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "framework/config/parse.hpp"
#include "framework/core/stop_signal.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/output_guard.hpp"
#include "framework/perf/step_model.hpp"
#include "framework/train/batch_memory.hpp"
#include "framework/train/gradient_plan.hpp"
#include "framework/train/train_precision.hpp"
#include "framework/train/update.hpp"
#include "launch/data_arguments.hpp"
#include "launch/device.hpp"
#include "launch/numbers.hpp"
#include "launch/output_options.hpp"
#include "launch/verbs.hpp"
#include "models/autocast.hpp"
#include "models/flops.hpp"

namespace scorenet::launch {
namespace {

constexpr double kMib = 1 << 20;

struct PlanArguments {
  std::string config_path, json;
  std::vector<int64_t> shape;
  std::vector<int> ranks;
  int64_t batch = 0;
  double bandwidth_gbs = 0, latency_us = 6, local_bandwidth_gbs = 0, local_latency_us = 2;
  int ranks_per_host = 1;
  double step_time_ms = 0, jitter_ms = 0;
  bool force = false;
};

std::vector<int64_t> example_shape(const config::Config& config, const PlanArguments& arguments) {
  if (!arguments.shape.empty()) return arguments.shape;
  if (config.data.map.path.empty()) {
    throw ConfigError(
        "plan: data.path is empty, so the shape of an example is unknown. Give --data.path, or "
        "--shape, for example --shape 3,32,32.");
  }
  return data::ImageDataset(config.data.map, config.data.split).example_shape();
}

// One AdamW step and its averages, seconds.
double optimizer_seconds(const score::ScoreModel& model) {
  optim::FlatParameters parameters(score::named_parameters(model));
  optim::AdamW adamw(parameters, {});
  optim::EmaSet averages(parameters.values(), train::ema_profiles_of(model.config.ema));
  double seconds = 0;
  for (int i = 0; i < 2; ++i) {  // the first touches the memory
    throw_if_stop_asked();
    const auto start = comm::Clock::now();
    adamw.step(1e-3, adamw.gradient_norm());
    averages.update(parameters.values(), {1, 1, 1});
    seconds = comm::seconds_since(start);
  }
  return seconds;
}

// Of a rank's `batch` images in pieces of train.micro_batch: all but the last backward pass are
// like forward to the traffic, which begins in the last.
perf::StepCosts measure_costs(const score::ScoreModel& model, c10::IntArrayRef shape,
                              int64_t batch) {
  const int64_t micro = model.config.train.micro_batch;
  const int64_t piece = micro > 0 ? std::min(micro, batch) : batch;
  const auto pieces = static_cast<double>((batch + piece - 1) / piece);
  train::rehearse(model, shape, piece);  // warms up
  throw_if_stop_asked();
  const train::Rehearsal rehearsal = train::rehearse(model, shape, piece);
  const auto sizes = optim::parameter_sizes(score::named_parameters(model));
  perf::StepCosts costs = train::step_costs(rehearsal, sizes, optimizer_seconds(model));
  costs.forward_s = pieces * rehearsal.forward_s + (pieces - 1) * rehearsal.backward_s;
  return costs;
}

int64_t weights_of(const score::ScoreModel& model) {
  int64_t weights = 0;
  for (const int64_t size : optim::parameter_sizes(score::named_parameters(model))) weights += size;
  return weights;
}

// Weights, gradients, moments and averages of a rank.
int64_t state_bytes(const score::ScoreModel& model, const comm::Communicators& comms) {
  const auto averages = static_cast<int>(train::ema_profiles_of(model.config.ema).size());
  return perf::state_bytes(weights_of(model), averages, comms.host->size(),
                           model.config.train.shard_optimizer);
}

// What rank zero writes beside training: the state without gradients, in host memory.
int64_t save_copy_bytes(const score::ScoreModel& model, const comm::Communicators& comms) {
  if (!model.config.checkpoint.background) return 0;
  return state_bytes(model, comms) - 4 * weights_of(model);
}

train::BatchMemory measure_memory(const score::ScoreModel& model, c10::IntArrayRef shape,
                                  int64_t batch, const comm::Communicators& comms) {
  const int64_t of_pass = 2 * 4 * weights_of(model);  // weights and gradients, which a pass has
  int64_t besides = state_bytes(model, comms) - of_pass;
  if (model.device.is_cpu()) besides += save_copy_bytes(model, comms);
  return train::measure_batch_memory(model, shape, batch, besides, comms.host->local_size());
}

void scale_to(perf::StepCosts& costs, double seconds) {
  const double factor = seconds / perf::alone_seconds(costs);
  costs.forward_s *= factor;
  costs.optimizer_s *= factor;
  for (perf::ParameterCost& p : costs.parameters) p.backward_s *= factor;
}

// Given, or measured between the ranks present.
perf::Cluster cluster_of(const PlanArguments& arguments, comm::Communicators& comms,
                         torch::Device device) {
  perf::Cluster cluster;
  if (arguments.bandwidth_gbs > 0) {
    cluster.network = {arguments.latency_us * 1e-6, arguments.bandwidth_gbs * 1e9};
  } else if (comms.host->size() > 1) {
    cluster.network = train::measure_link(comms, device);
  } else {
    throw ConfigError(
        "plan: one rank has no link to measure. Start it under mpirun, or give --bandwidth (GB/s a "
        "rank) and --latency (us).");
  }
  cluster.ranks_per_host = arguments.ranks_per_host;
  cluster.local = {arguments.local_latency_us * 1e-6, arguments.local_bandwidth_gbs * 1e9};
  if (arguments.local_bandwidth_gbs == 0) cluster.local = cluster.network;
  return cluster;
}

nlohmann::ordered_json to_json(const perf::LinkModel& link, bool measured) {
  return {{"latency_us", link.latency_s * 1e6},
          {"bandwidth_gb_per_s", link.bandwidth_bytes_per_s * 1e-9},
          {"measured", measured}};
}

nlohmann::ordered_json to_json(const train::BatchMemory& memory, int64_t save_copy_bytes) {
  return {{"bytes_an_image", memory.bytes_an_example},
          {"fixed_bytes", memory.fixed_bytes},
          {"available_bytes", memory.available_bytes},
          {"largest_batch_a_rank", memory.largest_batch},
          {"save_copy_bytes", save_copy_bytes}};
}

nlohmann::ordered_json report(const perf::StepCosts& costs, const perf::Cluster& cluster,
                              const std::vector<perf::ScalingRow>& rows,
                              const PlanArguments& arguments, int64_t batch) {
  double backward_s = 0;
  int64_t weights = 0;
  for (const perf::ParameterCost& p : costs.parameters) {
    backward_s += p.backward_s;
    weights += p.elements;
  }
  nlohmann::ordered_json out = {{"predicted", true},
                                {"config", arguments.config_path},
                                {"weights", weights},
                                {"batch_a_rank", batch},
                                {"step",
                                 {{"seconds", perf::alone_seconds(costs)},
                                  {"forward_s", costs.forward_s},
                                  {"backward_s", backward_s},
                                  {"optimizer_s", costs.optimizer_s},
                                  {"jitter_s", costs.jitter_s},
                                  {"measured", arguments.step_time_ms == 0}}},
                                {"sharded", costs.sharded},
                                {"link", to_json(cluster.network, arguments.bandwidth_gbs == 0)},
                                {"ranks_per_host", cluster.ranks_per_host}};
  if (cluster.ranks_per_host > 1) out["local_link"] = to_json(cluster.local, false);
  for (const perf::ScalingRow& row : rows) {
    out["predictions"].push_back(
        {{"ranks", row.ranks},
         {"bucket_mib", static_cast<double>(row.caps.cap_bytes) / kMib},
         {"first_bucket_mib", static_cast<double>(row.caps.first_bytes) / kMib},
         {"last_bucket_mib", static_cast<double>(row.caps.last_bytes) / kMib},
         {"step_s", row.prediction.step_s},
         {"exposed_s", row.prediction.exposed_s},
         {"efficiency", row.prediction.efficiency},
         {"images_per_sec", row.ranks * static_cast<double>(batch) / row.prediction.step_s},
         {"state_bytes_a_rank", row.state_bytes}});
  }
  return out;
}

void print(const nlohmann::ordered_json& out, const std::vector<perf::ScalingRow>& rows) {
  const auto& step = out["step"];
  const auto& link = out["link"];
  const auto& memory = out["memory"];
  std::printf(
      "%lld weights, %lld images a rank; one rank's step %.2f ms (%s): forward %.2f, backward "
      "%.2f, optimizer %.2f\nlink: %.2f us, %.3f GB/s per rank (%s), %d ranks per host; ring or "
      "tree, whichever is faster; %s; jitter %.2f ms\nleft out: contention of traffic with "
      "compute, so real efficiencies are lower; state without activations\nmemory: %.2f MiB an "
      "image and %.2f GiB besides; of %.1f GiB free here a rank computes at most %lld images at "
      "once\na save beside training: %.2f MiB more of rank zero's host\n%s",
      out["weights"].get<long long>(), out["batch_a_rank"].get<long long>(),
      1e3 * step["seconds"].get<double>(), step["measured"].get<bool>() ? "measured" : "given",
      1e3 * step["forward_s"].get<double>(), 1e3 * step["backward_s"].get<double>(),
      1e3 * step["optimizer_s"].get<double>(), link["latency_us"].get<double>(),
      link["bandwidth_gb_per_s"].get<double>(), link["measured"].get<bool>() ? "measured" : "given",
      out["ranks_per_host"].get<int>(), out["sharded"].get<bool>() ? "sharded" : "not sharded",
      1e3 * step["jitter_s"].get<double>(), memory["bytes_an_image"].get<double>() / kMib,
      memory["fixed_bytes"].get<double>() / (1024 * kMib),
      memory["available_bytes"].get<double>() / (1024 * kMib),
      memory["largest_batch_a_rank"].get<long long>(),
      memory["save_copy_bytes"].get<double>() / kMib, perf::scaling_table(rows).c_str());
}

ExitCode plan(const config::Config& config, const PlanArguments& arguments,
              comm::Communicators& comms) {
  if (comms.host->rank() == 0) {
    auto inputs = data_files(config.data.map);
    inputs.push_back({"config", arguments.config_path});
    files::check_outputs(inputs, {{"--json", arguments.json, arguments.force}});
  }
  const torch::Device device = device_for_rank(*comms.host);
  const std::vector<int64_t> shape = example_shape(config, arguments);
  score::ScoreModel model = score::build_model(config, shape, device);
  model.compute_dtype =
      models::compute_dtype(train::settled_precision(config, device, *comms.host));
  if (model.is_analytic()) {
    throw ConfigError(
        "model.type = gaussian_mixture: an analytic model is not trained, so there is nothing to "
        "plan.");
  }
  const int64_t batch = arguments.batch > 0
                            ? arguments.batch
                            : std::max<int64_t>(1, config.train.batch_size / comms.host->size());
  const perf::Cluster cluster = cluster_of(arguments, comms, device);
  // Before larger passes: a process keeps its memory.
  const train::BatchMemory memory = measure_memory(model, shape, batch, comms);
  perf::StepCosts costs = measure_costs(model, shape, batch);
  if (arguments.step_time_ms > 0) scale_to(costs, arguments.step_time_ms * 1e-3);
  costs.jitter_s = arguments.jitter_ms * 1e-3;
  costs.sharded = config.train.shard_optimizer;
  const auto rows = perf::predict_scaling(
      costs, cluster, arguments.ranks, static_cast<int>(train::ema_profiles_of(config.ema).size()));
  if (comms.host->rank() != 0) return ExitCode::done;
  auto out = report(costs, cluster, rows, arguments, batch);
  out["memory"] = to_json(memory, save_copy_bytes(model, comms));
  print(out, rows);
  if (!arguments.json.empty()) files::write_file_atomically(arguments.json, out.dump(2) + "\n");
  return ExitCode::done;
}

}  // namespace

void add_plan_verb(CLI::App& app, Task& task) {
  const auto a = std::make_shared<PlanArguments>();
  a->ranks = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
  CLI::App* verb = app.add_subcommand(
      "plan", "measure the link and a step; predict efficiency, buckets and memory on more ranks");
  verb->add_option("config", a->config_path, "experiment (TOML)")->required();
  verb->add_option("--ranks", a->ranks, "rank counts, for example 8,64,1024")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20));
  verb->add_option("--batch", a->batch, "images per rank and step")->check(positive_number());
  verb->add_option("--shape", a->shape, "shape of an example, without a data file: 3,32,32")
      ->delimiter(',')
      ->check(positive_number());
  verb->add_option("--bandwidth", a->bandwidth_gbs,
                   "bandwidth of a rank's link, GB/s, instead of measuring it")
      ->check(positive_number());
  verb->add_option("--latency", a->latency_us, "latency of a message, us, with --bandwidth (6)")
      ->check(non_negative_number());
  verb->add_option("--ranks-per-host", a->ranks_per_host,
                   "ranks on a host, which share a faster link (1)")
      ->check(positive_number());
  verb->add_option("--local-bandwidth", a->local_bandwidth_gbs,
                   "bandwidth of the link within a host, GB/s (default: as between hosts)")
      ->check(positive_number());
  verb->add_option("--local-latency", a->local_latency_us,
                   "latency of the link within a host, us (2)")
      ->check(non_negative_number());
  verb->add_option(
          "--step-time", a->step_time_ms,
          "time of a step on one rank, ms: scales the measured profile, for another device")
      ->check(positive_number());
  verb->add_option("--jitter", a->jitter_ms, "standard deviation of a rank's step, ms (0)")
      ->check(non_negative_number());
  add_output_option(verb, "--json", a->json, "write the report to this file too");
  add_force_flag(verb, a->force);
  verb->allow_extras();
  verb->callback([verb, a, &task] {
    config::Config config = config::parse_file(a->config_path);
    config::apply_overrides(config, verb->remaining());
    take_threads(task, config);
    task.action = [config, a](comm::Communicators& comms) { return plan(config, *a, comms); };
  });
}

}  // namespace scorenet::launch
