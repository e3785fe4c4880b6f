// Text that every file this program writes can hold as it stands: UTF-8 without control characters.
//
// TOML and JSON know no other bytes, and a name with a line break in it breaks every log.
#pragma once

#include <string>
#include <string_view>

namespace scorenet::config {

/// What keeps `text` from being plain: "byte 0xE9 at place 5 is not UTF-8", "control character 0x0D
/// at place 2"; "" if nothing does. Places count bytes from 1.
std::string not_plain_because(std::string_view text);

/// With \xNN in place of control characters and of bytes that are not UTF-8, for messages.
std::string escaped(std::string_view text);

}  // namespace scorenet::config
