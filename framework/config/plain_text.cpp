#include "framework/config/plain_text.hpp"

#include <cstdint>
#include <cstdio>

namespace scorenet::config {
namespace {

bool is_control(unsigned char byte) { return byte < 0x20 || byte == 0x7f; }

// Bytes of the UTF-8 character at the start of `text`; 0 if there is none (RFC 3629: no overlong
// forms, no surrogates).
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const size_t length = first < 0x80                    ? 1
                        : first >= 0xC2 && first < 0xE0 ? 2
                        : first >= 0xE0 && first < 0xF0 ? 3
                        : first >= 0xF0 && first < 0xF5 ? 4
                                                        : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  if (length < 3) return length;
  const unsigned char second = byte(1);
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool beyond = (first == 0xED && second > 0x9F) || (first == 0xF4 && second > 0x8F);
  return overlong || beyond ? 0 : length;
}

std::string hex(unsigned char byte) {
  char text[8];
  std::snprintf(text, sizeof text, "%02X", byte);
  return text;
}

}  // namespace

std::string not_plain_because(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::string place = " at place " + std::to_string(i + 1);
    if (is_control(byte)) return "control character 0x" + hex(byte) + place;
    const size_t length = character_length(text.substr(i));
    if (length == 0) return "byte 0x" + hex(byte) + place + " is not UTF-8";
    i += length;
  }
  return "";
}

std::string escaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = is_control(byte) ? 0 : character_length(text.substr(i));
    out += length == 0 ? "\\x" + hex(byte) : std::string(text.substr(i, length));
    i += length == 0 ? 1 : length;
  }
  return out;
}

}  // namespace scorenet::config
