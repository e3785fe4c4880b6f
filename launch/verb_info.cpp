// scorenet info: what a snapshot holds, what a schedule does, what a log field means.
//
//   scorenet info runs/a/snapshots/network-0001000-ema0.999.safetensors
//   scorenet info schedule --diffusion.schedule vp_cosine
//   scorenet info log-fields
#include <cstdio>
#include <iostream>
#include <memory>

#include "framework/config/parse.hpp"
#include "framework/core/check.hpp"
#include "framework/score/snapshot.hpp"
#include "framework/train/metrics_log.hpp"
#include "launch/verbs.hpp"
#include "models/flops.hpp"

namespace scorenet::launch {
namespace {

void print_schedule(const config::DiffusionConfig& diffusion) {
  const auto schedule = diffusion::make_schedule(diffusion.schedule);
  std::printf("schedule %s, t from %g to %g, prior N(0, %g I)\n", diffusion.schedule.name.c_str(),
              schedule->t_min(), schedule->t_max(), schedule->prior_variance());
  std::printf("%10s %14s %14s %12s %14s %14s\n", "t", "alpha", "sigma", "log_snr", "d log_snr/dt",
              "g^2");
  constexpr int kRows = 20;
  for (int i = 0; i <= kRows; ++i) {
    const double t = schedule->t_min() + (schedule->t_max() - schedule->t_min()) * i / kRows;
    const auto at = torch::tensor({t}, torch::kFloat64);
    const auto level = schedule->at(at);
    std::printf("%10.5g %14.8g %14.8g %12.6g %14.6g %14.6g\n", t, level.alpha.item<double>(),
                level.sigma.item<double>(), level.log_snr.item<double>(),
                schedule->d_log_snr(at).item<double>(), schedule->g_squared(at).item<double>());
  }
}

void print_snapshot(const std::string& path) {
  const score::LoadedSnapshot snapshot = score::load_snapshot(path, torch::kCPU);
  std::cout << "snapshot    " << path << "\n"
            << "weights     " << snapshot.label << ", step " << snapshot.step << "\n"
            << "examples    " << shape_string(snapshot.example_shape) << "\n"
            << "parameters  " << models::parameter_count(*snapshot.model.trained().network) << "\n"
            << "digests     "
            << (snapshot.has_digests ? "as saved" : "none: of an older version, not checked")
            << "\n\n"
            << config::to_toml(snapshot.model.config);
}

void print_info(const std::string& what, const config::Config& config) {
  if (what == "log-fields") {
    std::cout << train::log_field_legend();
  } else if (what == "schedule") {
    print_schedule(config.diffusion);
  } else {
    print_snapshot(what);
  }
}

}  // namespace

void add_info_verb(CLI::App& app, Task& task) {
  const auto what = std::make_shared<std::string>();
  CLI::App* verb =
      app.add_subcommand("info", "explain a snapshot, a schedule, or the fields of the logs");
  verb->add_option("what", *what, "SNAPSHOT.safetensors, schedule, or log-fields")->required();
  verb->allow_extras();
  verb->footer("schedule takes the keys of [diffusion], such as --diffusion.schedule vp_cosine.");
  verb->callback([verb, what, &task] {
    config::Config config;
    config::apply_overrides(config, verb->remaining());
    task.action = [what, config](comm::Communicators& comms) {
      if (comms.host->rank() == 0) print_info(*what, config);
      return ExitCode::done;
    };
  });
}

}  // namespace scorenet::launch
