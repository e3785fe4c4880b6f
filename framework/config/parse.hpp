// Reads config files (TOML, by toml++) and command-line overrides into a Config, and writes a
// Config as TOML.
#pragma once

#include <string>
#include <vector>

#include "framework/config/config.hpp"

namespace scorenet::config {

/// The defaults, with the keys of a TOML file in their place. Throws ConfigError with file, line
/// and what was expected. An unknown key is an error that names the nearest known key.
Config parse_file(const std::string& path);

/// The same from text. Errors name `origin` in place of the file.
Config parse_text(const std::string& text, const std::string& origin);

/// Applies "--section.key value" and "--section.key=value" in order. A list is written [1,2,3] or
/// 1,2,3. Throws ConfigError for anything else on the command line.
void apply_overrides(Config& config, const std::vector<std::string>& arguments);

/// The whole resolved config as TOML, each section once, in the order of the documentation.
/// parse_text reads it back to an equal Config.
std::string to_toml(const Config& config);

}  // namespace scorenet::config
