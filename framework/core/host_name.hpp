// The name of this machine, as messages and temporary files carry it. Plain C++.
#pragma once

#include <unistd.h>

#include <array>
#include <string>

namespace scorenet {

inline std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? std::string(name.data()) : "host";
}

}  // namespace scorenet
