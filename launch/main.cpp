// scorenet: train, evaluate and sample score networks, on one process or many.
//
//   one process     scorenet train configs/quickstart.toml --outdir runs/a --data.path fashion_mnist.h5
//   one machine     mpirun -n 4 scorenet train ...
//   several         mpirun --hostfile hosts -n 16 scorenet train ...     or     sbatch launch/train.sbatch CONFIG OUTDIR
#include "framework/core/allocator.hpp"
#include "launch/verbs.hpp"

int main(int argc, char** argv) {
  using namespace scorenet::launch;
  scorenet::tune_allocator();

  CLI::App app("scorenet: distributed training and evaluation of score networks (diffusion models)", "scorenet");
  app.set_version_flag("--version", "scorenet " SCORENET_VERSION);
  app.require_subcommand(1);
  Action action;
  add_train_verb(app, action);
  add_evaluate_verb(app, action);
  add_sample_verb(app, action);
  add_data_verb(app, action);
  add_info_verb(app, action);
  add_doctor_verb(app, action);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const bool failed = e.get_exit_code() != static_cast<int>(CLI::ExitCodes::Success);
    if (!launched_as_other_rank()) app.exit(e);
    return failed ? static_cast<int>(scorenet::ExitCode::usage) : 0;
  }
  return run_on_ranks(action);
}
