// scorenet timeline: one Chrome trace out of those that the ranks of a run wrote
// (run.timeline = STEPS).
//
//   scorenet timeline runs/a/timeline/rank*.json --out trace.json
//                                            opens in chrome://tracing or Perfetto
#include <iostream>
#include <memory>

#include "framework/files/output_guard.hpp"
#include "framework/perf/timeline.hpp"
#include "launch/output_options.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {

void add_timeline_verb(CLI::App& app, Task& task) {
  struct Arguments {
    std::vector<std::string> files;
    std::string out;
    bool force = false;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* verb = app.add_subcommand("timeline", "merge the ranks' timelines into one");
  verb->add_option("files", arguments->files, "RUN/timeline/rank*.json")->required();
  add_output_option(verb, "--out", arguments->out, "the merged Chrome trace")->required();
  add_force_flag(verb, arguments->force);
  verb->callback([arguments, &task] {
    task.action = [arguments](comm::Communicators& comms) {
      if (comms.host->rank() != 0) return ExitCode::done;
      std::vector<files::NamedPath> inputs;
      for (const std::string& path : arguments->files) inputs.push_back({"the input", path});
      files::check_outputs(inputs, {{"--out", arguments->out, arguments->force}});
      perf::merge_timelines(arguments->files, arguments->out);
      std::cout << arguments->out << ": " << arguments->files.size() << " ranks" << std::endl;
      return ExitCode::done;
    };
  });
}

}  // namespace scorenet::launch
