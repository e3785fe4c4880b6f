// The option --hbar-schedule of sample and evaluate: h(t) as text, or a file that holds it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace scorenet::launch {

/// Adds --hbar-schedule; `text` becomes "t:value,t:value,..." for parse_hbar_shape, whichever way
/// it was given.
void add_hbar_schedule_option(CLI::App* verb, std::string& text);

/// A text with a colon is the schedule itself. Any other text names a file with "t value" or
/// "t:value" on each line, where # starts a comment. Throws DataError if the file cannot be read,
/// and ConfigError as parse_hbar_shape does.
std::string hbar_schedule_text(const std::string& argument);

}  // namespace scorenet::launch
