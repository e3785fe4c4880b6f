#include "launch/verbs.hpp"

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace scorenet::launch {
namespace {

// Option groups are subcommands without a name.
std::vector<CLI::App*> named_subcommands(CLI::App& app) {
  return app.get_subcommands([](CLI::App* sub) { return !sub->get_name().empty(); });
}

void add_threads_option(CLI::App& verb, Task& task) {
  const auto parts = named_subcommands(verb);
  for (CLI::App* part : parts) add_threads_option(*part, task);
  if (!parts.empty()) return;
  verb.add_option("--threads", task.threads,
                  "CPU threads per rank [OMP_NUM_THREADS, else the cores it may use]")
      ->check(CLI::Range(1, 4096));
}

// The verb and its part, as typed: {"data", "convert"}.
std::vector<std::string> verb_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (auto chosen = app.get_subcommands(); !chosen.empty();
       chosen = chosen[0]->get_subcommands()) {
    if (!chosen[0]->get_name().empty()) names.push_back(chosen[0]->get_name());
  }
  return names;
}

// Folders may differ from rank to rank: each host may have its own copy of the data.
std::string without_folders(int argc, char** argv) {
  std::string text;
  for (int i = 1; i < argc; ++i)
    text += (i > 1 ? " " : "") + std::filesystem::path(argv[i]).filename().string();
  return text;
}

bool is_one_of(const std::string& name, const std::set<std::string>& names) {
  return names.count(name) != 0;
}

}  // namespace

void take_threads(Task& task, config::Config& config) {
  if (task.threads > 0) config.run.threads = task.threads;
  task.threads = config.run.threads;
}

void add_threads_options(CLI::App& app, Task& task) {
  for (CLI::App* verb : named_subcommands(app)) add_threads_option(*verb, task);
}

void describe_verb(const CLI::App& app, int argc, char** argv, Task& task) {
  const auto names = verb_of(app);
  if (names.empty()) return;
  const std::string& verb = names[0];
  const bool has_config = is_one_of(verb, {"train", "plan"});
  const bool dry = verb == "train" && app.get_subcommand(verb)->count("--dry-run") > 0;
  task.alone = is_one_of(
      verb, {"data", "convert", "ema", "info", "timeline", "report", "completion", "man"});
  task.heeds_stop = (is_one_of(verb, {"train", "evaluate", "sample", "plan"}) && !dry) ||
                    (verb == "data" && names.back() != "info");
  task.keeps_its_lines = verb == "train" && !dry;
  task.identity = {{"verb", verb}, {"--dry-run", dry ? "true" : "false"}};
  // Configs are compared key by key, later.
  if (!has_config) task.identity.emplace_back("command line", without_folders(argc, argv));
}

}  // namespace scorenet::launch
