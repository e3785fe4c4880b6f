// The verbs of the command line: each adds its subcommand and, when chosen, says what main then
// runs on all ranks.
#pragma once

#include <CLI/CLI.hpp>

#include "framework/config/config.hpp"
#include "launch/run_main.hpp"

namespace scorenet::launch {

void add_train_verb(CLI::App& app, Task& task);
void add_evaluate_verb(CLI::App& app, Task& task);
void add_sample_verb(CLI::App& app, Task& task);
void add_data_verb(CLI::App& app, Task& task);
void add_convert_verb(CLI::App& app, Task& task);
void add_ema_verb(CLI::App& app, Task& task);
void add_info_verb(CLI::App& app, Task& task);
void add_plan_verb(CLI::App& app, Task& task);
void add_timeline_verb(CLI::App& app, Task& task);
void add_doctor_verb(CLI::App& app, Task& task);
void add_report_verb(CLI::App& app, Task& task);
void add_help_verbs(CLI::App& app, Task& task);

/// All of them, and --threads. app must outlive the task's action.
void add_all_verbs(CLI::App& app, Task& task);

/// --threads overrides the config's run.threads; both then have the same value.
void take_threads(Task& task, config::Config& config);

/// Adds --threads N to every verb that has an action. Call it after all verbs are added.
void add_threads_options(CLI::App& app, Task& task);

/// What the task needs to know of the verb that was chosen: whether it works alone, heeds stop
/// signals, and by what it is recognised on other ranks.
void describe_verb(const CLI::App& app, int argc, char** argv, Task& task);

}  // namespace scorenet::launch
