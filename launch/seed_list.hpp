// "0-63,100": the seeds of samples.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace scorenet::launch {

/// Numbers and closed ranges, separated by commas, in the order given. Throws ConfigError naming
/// the part that is neither.
std::vector<int64_t> parse_seeds(const std::string& text);

struct Grid {
  int64_t columns = 0;
  int64_t rows = 0;
};

/// "8x8". Throws ConfigError.
Grid parse_grid(const std::string& text);

}  // namespace scorenet::launch
