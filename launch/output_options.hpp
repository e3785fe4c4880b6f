// The options that name a verb's outputs, and --force: the same in every verb.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace scorenet::launch {

/// An option that takes a path to write to; an empty one is refused.
CLI::Option* add_output_option(CLI::App* verb, const std::string& name, std::string& path,
                               const std::string& text);

/// --force: files that exist are replaced.
void add_force_flag(CLI::App* verb, bool& force);

}  // namespace scorenet::launch
