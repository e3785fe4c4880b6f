// Which paths are addresses of the web.
#pragma once

#include <string>

namespace scorenet::data {

/// https://..., or http://... inside a network.
inline bool is_remote(const std::string& path) {
  return path.starts_with("https://") || path.starts_with("http://");
}

}  // namespace scorenet::data
