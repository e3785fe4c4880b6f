// The verbs of the command line: each adds its subcommand and, when chosen, sets the action that main runs on all ranks.
#pragma once

#include <CLI/CLI.hpp>

#include "launch/run_main.hpp"

namespace scorenet::launch {

void add_train_verb(CLI::App& app, Action& action);
void add_evaluate_verb(CLI::App& app, Action& action);
void add_sample_verb(CLI::App& app, Action& action);
void add_data_verb(CLI::App& app, Action& action);
void add_info_verb(CLI::App& app, Action& action);
void add_doctor_verb(CLI::App& app, Action& action);

}  // namespace scorenet::launch
