// The time now as text, for logs and locks. Plain C++, for the layers without LibTorch too.
#pragma once

#include <ctime>
#include <string>

namespace scorenet {

/// "2026-11-25T22:15:00Z": UTC, to the second (ISO 8601).
inline std::string utc_time_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace scorenet
