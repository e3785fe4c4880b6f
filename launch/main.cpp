// scorenet: train, evaluate and sample score networks, on one process or many.
//
//   one process   scorenet train configs/quickstart.toml --outdir runs/a --data.path mnist.h5
//   one machine   mpirun -n 4 scorenet train ...
//   several       mpirun --hostfile hosts -n 16 scorenet train ...
//                 or sbatch launch/train.sbatch CONFIG OUTDIR
#include <iostream>

#include "framework/config/plain_text.hpp"
#include "framework/core/allocator.hpp"
#include "framework/core/stop_signal.hpp"
#include "launch/help_text.hpp"
#include "launch/usage_error.hpp"
#include "launch/verbs.hpp"
#include "models/instruction_limit.hpp"

namespace {

// Names on the command line end up in configs, reports and logs, none of which can
// hold other bytes.
void check_arguments(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string why = scorenet::config::not_plain_because(argv[i]);
    if (why.empty()) continue;
    throw scorenet::ConfigError("command line: '" + scorenet::config::escaped(argv[i]) + "': " +
                                why + ", which no config or report can hold. Rename the file.");
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace scorenet::launch;
  scorenet::catch_stop_signals();
  scorenet::let_writes_fail();
  scorenet::tune_allocator();
  scorenet::models::extend_instruction_limit();
  CLI::App app("scorenet: distributed training and evaluation of score networks (diffusion models)",
               "scorenet");
  app.failure_message([](const CLI::App* all, const CLI::Error& e) { return said_of(*all, e); });
  app.formatter(help_formatter(help_topic(argc, argv)));
  Task task;
  add_all_verbs(app, task);
  try {
    check_arguments(argc, argv);
    app.parse(argc, argv);
    describe_verb(app, argc, argv, task);
  } catch (const CLI::ParseError& e) {  // also --help and --version
    if (!launched_as_other_rank()) app.exit(e);
    return end_before_connecting(e.get_exit_code() == 0 ? scorenet::ExitCode::done
                                                        : scorenet::ExitCode::usage);
  } catch (const scorenet::Error& e) {  // a config file that cannot be read
    if (!launched_as_other_rank()) std::cerr << e.what() << std::endl;
    return end_before_connecting(e.exit_code());
  }
  return run_on_ranks(task);
}
