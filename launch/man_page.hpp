// A page of help as a man page: troff with the man macros.
#pragma once

#include <string>

#include "launch/help_page.hpp"

namespace scorenet::launch {

/// "scorenet.1", "scorenet-data-convert.1".
std::string man_file_name(const HelpPage& page);

/// version: "scorenet 0.1.0". The page names no date, so that the same program gives the same
/// bytes.
std::string man_page(const HelpPage& page, const std::string& version);

}  // namespace scorenet::launch
