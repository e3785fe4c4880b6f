// scorenet ema: averages of any width after training.
//
//   scorenet ema reconstruct runs/a/snapshots/*-emastd*.safetensors --sigma-rel 0.07
//       --out a-0.07.safetensors
#include <cstdio>
#include <memory>

#include "framework/files/output_guard.hpp"
#include "framework/score/ema_reconstruction.hpp"
#include "launch/output_options.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {
namespace {

struct EmaArguments {
  std::vector<std::string> snapshots;
  double sigma_rel = 0.1;
  int64_t step = -1;
  std::string out;
  bool force = false;
};

ExitCode reconstruct(const EmaArguments& a, comm::Communicators& comms) {
  if (comms.host->rank() != 0) return ExitCode::done;
  std::vector<files::NamedPath> inputs;
  for (const std::string& path : a.snapshots) inputs.push_back({"the input", path});
  files::check_outputs(inputs, {{"--out", a.out, a.force}});
  const double error = score::reconstruct_snapshot({a.snapshots.begin(), a.snapshots.end()},
                                                   a.sigma_rel, a.step, a.out);
  std::printf("wrote %s: profile of width %g met to %.2g of its norm by %zu snapshots\n",
              a.out.c_str(), a.sigma_rel, error, a.snapshots.size());
  return ExitCode::done;
}

}  // namespace

void add_ema_verb(CLI::App& app, Task& task) {
  const auto a = std::make_shared<EmaArguments>();
  CLI::App* verb = app.add_subcommand("ema", "make averages of the weights after training");
  verb->require_subcommand(1);
  CLI::App* sub = verb->add_subcommand(
      "reconstruct",
      "make the power average of any width from saved averages of a few widths (EDM2)");
  sub->add_option("snapshots", a->snapshots, "snapshots of one run, ...-emastd*.safetensors")
      ->required();
  sub->add_option("--sigma-rel", a->sigma_rel, "relative width of the wanted average")
      ->check(CLI::Range(0.001, 0.279))
      ->capture_default_str();
  sub->add_option("--step", a->step, "training step of the wanted average; -1: the last snapshot's")
      ->capture_default_str();
  add_output_option(sub, "--out", a->out, "SNAPSHOT.safetensors to write")->required();
  add_force_flag(sub, a->force);
  sub->callback([a, &task] {
    task.action = [a](comm::Communicators& comms) { return reconstruct(*a, comms); };
  });
}

}  // namespace scorenet::launch
