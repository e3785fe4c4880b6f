// What the program says of a command line that cannot be parsed.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace scorenet::launch {

/// One sentence: which verb or option, what was expected, and the nearest name where one is meant;
/// and a line that names the help.
std::string said_of(const CLI::App& app, const CLI::Error& error);

}  // namespace scorenet::launch
