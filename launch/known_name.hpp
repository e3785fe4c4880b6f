// Options whose value is a name of a list.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace scorenet::launch {

/// Accepts `names`; refuses another with the nearest of them and the whole list.
CLI::Validator known_name(const std::vector<std::string>& names);

}  // namespace scorenet::launch
