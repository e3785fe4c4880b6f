// What there is to say about a verb, as data: the one source of --help, the man pages and the
// shell's completion.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace scorenet::launch {

struct HelpRow {
  std::string name;      // "--out", "-n, --dry-run", "learning_rate"
  std::string standard;  // its default
  std::string accepts;   // "a number > 0"
  std::string meaning;
  std::vector<std::string> choices = {};  // where `accepts` is a list of names
};

struct HelpSection {
  std::string title;  // "Options", "[train]"
  std::string note;   // how its rows are given; may be empty
  std::vector<HelpRow> rows;
};

struct HelpPage {
  std::string command;  // "scorenet data convert"
  std::string summary;
  std::string usage;
  std::vector<std::pair<std::string, std::string>> examples;  // a command, what it does
  std::vector<HelpSection> sections;
  std::string notes;  // what else there is to say
};

/// Of the program (verb without a parent) or one of its verbs. Verbs that take every key of the
/// config have a section for each of its tables.
HelpPage help_page(const CLI::App& verb);

/// "train", "data convert"; "" of the program.
std::string path_of(const CLI::App& verb);

/// Whether the verb takes every key of a config.
bool takes_config_keys(const CLI::App& verb);

/// The config's tables: data, condition, model, ...; each has rows of keys without the table's
/// name.
std::vector<HelpSection> config_sections();

/// The program's verbs, then the parts of each: train, ..., data, data convert, ...
std::vector<const CLI::App*> all_verbs(const CLI::App& program);

}  // namespace scorenet::launch
