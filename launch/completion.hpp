// Completion of verbs, options, keys of the config and their values, for bash.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace scorenet::launch {

/// A script for `eval`, or a file in bash-completion's folder. It needs no other package.
std::string bash_completion(const CLI::App& program);

}  // namespace scorenet::launch
