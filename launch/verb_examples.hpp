// Examples of every verb: what --help and the man pages show first.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace scorenet::launch {

/// A command, and what it does, for "train", "data convert", ...; "" is the program.
std::vector<std::pair<std::string, std::string>> examples_of(const std::string& verb);

}  // namespace scorenet::launch
