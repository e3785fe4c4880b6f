// --help: a page of help as text, in columns that fit the terminal.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "launch/help_page.hpp"

namespace scorenet::launch {

/// The terminal's columns, or $COLUMNS, within 60 to 140; 100 where there is neither.
size_t terminal_columns();

/// Examples first, then usage and the sections. No line is longer than `columns`, unless it holds a
/// command or a single word that is.
std::string help_text(const HelpPage& page, size_t columns);

/// CLI11 asks it for every verb. topic: "data" shows the config's section [data] alone, where the
/// verb takes its keys; any other text, the whole page.
std::shared_ptr<CLI::FormatterBase> help_formatter(std::string topic);

/// The word that follows --help on the command line; "" if there is none.
std::string help_topic(int argc, char** argv);

}  // namespace scorenet::launch
