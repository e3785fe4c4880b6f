// What the machine calls its processor. Plain C++.
#pragma once

#include <fstream>
#include <string>

namespace scorenet {

/// "Intel(R) Xeon(R) Processor @ 2.80GHz"; "unnamed processor" where the system gives no name.
inline std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unnamed processor";
}

}  // namespace scorenet
