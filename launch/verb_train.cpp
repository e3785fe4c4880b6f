// scorenet train: one experiment into one run folder.
//
//   one process           scorenet train configs/fashion_mnist.toml --outdir runs/a
//   four on this machine  mpirun -n 4 scorenet train configs/fashion_mnist.toml --outdir runs/a
//   under Slurm           srun --mpi=pmix scorenet train configs/fashion_mnist.toml --outdir runs/a
//                         (launch/train.sbatch)
// The same command again resumes.
#include <torch/cuda.h>
#include <torch/utils.h>

#include <iostream>
#include <memory>

#include "framework/comm/gpu_aware_mpi.hpp"
#include "framework/comm/nccl_communicator.hpp"
#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"
#include "framework/files/output_guard.hpp"
#include "framework/train/trainer.hpp"
#include "launch/data_arguments.hpp"
#include "launch/device.hpp"
#include "launch/output_options.hpp"
#include "launch/run_lock.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {
namespace {

struct TrainArguments {
  std::string config_path;
  std::string outdir;
  bool dry_run = false;
};

// auto: where several ranks compute on GPUs, their gradients are device memory, which MPI
// here cannot carry.
std::string backend_for(const std::string& asked) {
  const bool on_gpus = comm::nccl_is_built_in() && torch::cuda::is_available();
  return asked == "auto" && on_gpus && comm::started_by_a_launcher() ? "nccl" : asked;
}

comm::CommOptions comm_options(const config::Config& c) {
  comm::CommOptions o = c.comm.link;
  o.backend = backend_for(o.backend);
  // Others wait while rank zero evaluates; a batch begun within the budget may still run past it.
  o.limits.evaluate = 2 * c.eval.time_budget_s + o.limits.train;
  return o;
}

// Gradients on GPUs without NCCL: over MPI, if the user says that it can.
void carry_device_memory(const config::Config& config, comm::Communicators& comms,
                         torch::Device device) {
  comm::check_device_memory_has_a_carrier(!device.is_cpu(), comms.device != nullptr,
                                          comms.host->size(), config.comm.gpu_aware_mpi);
  if (device.is_cpu() || comms.device || comms.host->size() == 1) return;
  comm::MpiOptions options;
  options.limits = comm_options(config).limits;
  options.vitals = comms.vitals;
  options.recorder = comms.recorder;
  comms.device = carrier_of_device_memory(device, *comms.environment, options);
}

void check_duration(const config::Config& c) {
  if (config::total_steps(c.train) > 0) return;
  throw ConfigError(
      "train.steps and train.duration_kimg are both 0: say how long to train, for example "
      "--train.steps 1000.");
}

// A run folder is written again on every start; only what the run reads must not lie there under a
// name that it writes. Its own config.toml may be the config: that is how a run is resumed from it.
void check_run_folder(const config::Config& config, const TrainArguments& arguments) {
  const std::filesystem::path folder = arguments.outdir;
  const auto writes = [&folder](const std::vector<std::string>& names) {
    std::vector<files::Output> outputs;
    for (const std::string& name : names) {
      outputs.push_back({"--outdir", folder / name, /*may_replace=*/true,
                         /*may_make_folder=*/true});
    }
    return outputs;
  };
  const std::vector<std::string> logs{"log.txt", "stats.jsonl", "metrics.csv"};
  files::check_outputs({{"config", arguments.config_path}}, writes(logs));
  auto inputs = data_files(config.data.map);
  inputs.push_back({"model.file", config.model.file});
  inputs.push_back({"train.init", config.train.init});
  files::check_outputs(inputs, writes({"config.toml", logs[0], logs[1], logs[2]}));
}

ExitCode train(const config::Config& config, const TrainArguments& arguments,
               comm::Communicators& comms) {
  config::validate(config, comms.host->size());
  check_duration(config);
  if (comms.host->rank() == 0) check_run_folder(config, arguments);
  const torch::Device device = device_for_rank(*comms.host);
  carry_device_memory(config, comms, device);
  std::unique_ptr<files::FolderLock> lock;
  if (!arguments.dry_run) lock = lock_run_folder(arguments.outdir, *comms.host);
  train::Trainer trainer(config, arguments.outdir, comms, device, lock.get());
  if (!arguments.dry_run) return trainer.run();
  if (comms.host->rank() == 0)
    std::cout << config::to_toml(config) << "\n" << trainer.start_block() << std::endl;
  return ExitCode::done;
}

}  // namespace

void add_train_verb(CLI::App& app, Task& task) {
  const auto arguments = std::make_shared<TrainArguments>();
  CLI::App* verb = app.add_subcommand("train", "train a network; the same command again resumes");
  verb->add_option("config", arguments->config_path, "experiment (TOML)")->required();
  add_output_option(verb, "--outdir", arguments->outdir, "run folder; created if missing")
      ->required();
  verb->add_flag("-n,--dry-run", arguments->dry_run,
                 "check everything and print the resolved config and sizes, without training");
  verb->allow_extras();
  verb->callback([verb, arguments, &task] {
    if (arguments->outdir.empty())
      throw ConfigError("--outdir '': is empty. Give the run's folder, for example runs/a.");
    config::Config config = config::parse_file(arguments->config_path);
    config::apply_overrides(config, verb->remaining());
    take_threads(task, config);
    task.comm = comm_options(config);
    task.action = [config, arguments](comm::Communicators& comms) {
      return train(config, *arguments, comms);
    };
  });
}

}  // namespace scorenet::launch
