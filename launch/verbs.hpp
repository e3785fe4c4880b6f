// The verbs of the command line: each adds its subcommand and, when chosen, says what main then runs on all ranks.
#pragma once

#include <CLI/CLI.hpp>

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

}  // namespace scorenet::launch
