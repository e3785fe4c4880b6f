// The option --hbar-schedule of sample and evaluate: h(t) as text, or a file that holds it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace scorenet::launch {

/// Adds --hbar-schedule; `text` becomes "t:value,t:value,..." for parse_hbar_shape, whichever way
/// it was given.
void add_hbar_schedule_option(CLI::App* verb, std::string& text);

/// What has a colon is the schedule itself; anything else names a file with a "t value" or
/// "t:value" a line, where # starts a comment. Throws DataError if the file cannot be read,
/// ConfigError (of parse_hbar_shape) if it makes no sense.
std::string hbar_schedule_text(const std::string& argument);

}  // namespace scorenet::launch
