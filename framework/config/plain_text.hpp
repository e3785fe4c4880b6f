// Checks for plain text: UTF-8 without control characters. Every file that this program writes can
// hold such text unchanged.
//
// TOML and JSON allow no other bytes, and a name with a line break would break every log.
#pragma once

#include <string>
#include <string_view>

namespace scorenet::config {

/// Why `text` is not plain: "byte 0xE9 at place 5 is not UTF-8", "control character 0x0D at place
/// 2". "" if it is plain. Places count bytes from 1.
std::string not_plain_because(std::string_view text);

/// `text` for messages: control characters and bytes that are not UTF-8 become \xNN.
std::string escaped(std::string_view text);

}  // namespace scorenet::config
