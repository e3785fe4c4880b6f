#include "framework/core/build_info.hpp"
#include "launch/help_text.hpp"
#include "launch/numbers.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {

void add_all_verbs(CLI::App& app, Task& task) {
  app.set_version_flag("--version", "scorenet " + build_version() + "\ncommit   " + build_commit() +
                                        "\nbuilt    " + build_options());
  app.require_subcommand(1);
  add_train_verb(app, task);
  add_evaluate_verb(app, task);
  add_sample_verb(app, task);
  add_data_verb(app, task);
  add_ema_verb(app, task);
  add_convert_verb(app, task);
  add_info_verb(app, task);
  add_plan_verb(app, task);
  add_timeline_verb(app, task);
  add_report_verb(app, task);
  add_doctor_verb(app, task);
  add_help_verbs(app, task);
  add_threads_options(app, task);
  refuse_what_is_no_number(app);
}

}  // namespace scorenet::launch
