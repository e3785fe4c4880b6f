// scorenet timeline: one Chrome trace out of those that the ranks of a run wrote (run.timeline = STEPS).
//
//   scorenet timeline runs/a/timeline/rank*.json --out trace.json         open in chrome://tracing or Perfetto
#include <iostream>
#include <memory>

#include "framework/perf/timeline.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {

void add_timeline_verb(CLI::App& app, Task& task) {
  struct Arguments {
    std::vector<std::string> files;
    std::string out;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* verb = app.add_subcommand("timeline", "put the ranks' timelines together");
  verb->add_option("files", arguments->files, "RUN/timeline/rank*.json")->required();
  verb->add_option("--out", arguments->out, "the merged Chrome trace")->required();
  verb->callback([arguments, &task] {
    task.action = [arguments](comm::Communicators& comms) {
      if (comms.host->rank() != 0) return ExitCode::done;
      perf::merge_timelines(arguments->files, arguments->out);
      std::cout << arguments->out << ": " << arguments->files.size() << " ranks" << std::endl;
      return ExitCode::done;
    };
  });
}

}  // namespace scorenet::launch
