// scorenet info: what a snapshot holds, what a schedule does, what a log field means.
//
//   scorenet info runs/a/snapshots/network-0001000-ema0.999.safetensors
//   scorenet info config runs/a
//   scorenet info schedule --diffusion.schedule vp_cosine
//   scorenet info log-fields
#include <cstdio>
#include <iostream>
#include <memory>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/config/fields.hpp"
#include "framework/config/parse.hpp"
#include "framework/core/check.hpp"
#include "framework/report/run_record.hpp"
#include "framework/score/foreign_network.hpp"
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
  const auto metadata = checkpoint::read_safetensors_header(path).metadata;
  const auto program = metadata.find("scorenet.program");
  std::cout << "snapshot    " << path << "\n"
            << "weights     " << snapshot.label << ", step " << snapshot.step << "\n"
            << "examples    " << shape_string(snapshot.example_shape) << "\n"
            << "parameters  " << models::parameter_count(*snapshot.model.trained().network) << "\n"
            << "digests     "
            << (snapshot.has_digests ? "as saved" : "none: of an older version, not checked")
            << "\n"
            << "program     "
            << (program == metadata.end() ? "of an older version" : program->second) << "\n\n"
            << config::to_toml(snapshot.model.config);
}

// The config that a snapshot carries, a file has, or a run was last started with.
config::Config config_of(const std::string& path) {
  if (path.ends_with(".safetensors")) return score::load_snapshot(path, torch::kCPU).model.config;
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) return config::parse_file(path);
  const report::RunRecord run = report::read_run(path);
  if (run.config) return *run.config;
  throw ConfigError(path +
                    ": holds no config.toml that can be read. Give the --outdir of a training.");
}

// As TOML: what it sets otherwise than the defaults.
void print_config(const std::string& path) {
  config::Config config = config_of(path), defaults;
  for (const data::ConditionMap& condition : config.conditions)
    defaults.conditions.push_back({.name = condition.name});
  const auto standard = config::fields(defaults), set = config::fields(config);
  std::string section;
  for (size_t i = 0; i < set.size(); ++i) {
    const std::string value = config::value_string(set[i]);
    if (value == config::value_string(standard[i])) continue;
    if (set[i].section() != section)
      std::cout << (section.empty() ? "[" : "\n[") << set[i].section() << "]\n";
    section = set[i].section();
    std::cout << set[i].key() << " = " << value << "\n";
  }
  if (section.empty()) std::cout << "# every key is at its default\n";
}

// A network from elsewhere; what it expects does not stand in its file.
void print_torchscript(const std::string& path) {
  config::Config config;
  config.model.file = path;
  const std::string bytes = score::read_network_file(config);
  std::cout << "network     " << path << "\n"
            << models::describe_torchscript(bytes, path) << "digest      "
            << config.model.convention.file_digest << "\n\n"
            << "What its level is and what it returns, a convention says: evaluate --network "
            << path << " --convention NAME\n";
}

void print_info(const std::string& what, const std::string& path, const config::Config& config) {
  if (what == "config") {
    print_config(path);
  } else if (what == "log-fields") {
    std::cout << train::log_field_legend();
  } else if (what == "schedule") {
    print_schedule(config.diffusion);
  } else if (what.ends_with(".pt")) {
    print_torchscript(what);
  } else {
    print_snapshot(what);
  }
}

}  // namespace

void add_info_verb(CLI::App& app, Task& task) {
  const auto what = std::make_shared<std::string>();
  CLI::App* verb =
      app.add_subcommand("info", "explain a snapshot, a schedule, or the fields of the logs");
  verb->add_option("what", *what,
                   "SNAPSHOT.safetensors; NETWORK.pt (TorchScript); config RUN, of a run folder, a "
                   "config file or a snapshot: "
                   "what is not at its default; schedule; log-fields")
      ->required();
  verb->allow_extras();
  verb->footer("schedule takes the keys of [diffusion], such as --diffusion.schedule vp_cosine.");
  verb->callback([verb, what, &task] {
    const std::vector<std::string> more = verb->remaining();
    config::Config config;
    if (*what == "config" && more.size() != 1)
      throw ConfigError("info config: expected one run folder, config file or snapshot behind it.");
    if (*what != "config") config::apply_overrides(config, more);
    const std::string path = *what == "config" ? more[0] : "";
    task.action = [what, path, config](comm::Communicators& comms) {
      if (comms.host->rank() == 0) print_info(*what, path, config);
      return ExitCode::done;
    };
  });
}

}  // namespace scorenet::launch
