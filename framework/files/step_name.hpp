// Steps in file names: seven digits, so that they sort as text.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace scorenet::files {

/// "0000512".
inline std::string step_name(int64_t step) {
  char text[32];
  std::snprintf(text, sizeof text, "%07lld", static_cast<long long>(step));
  return text;
}

}  // namespace scorenet::files
