#include "launch/seed_list.hpp"

#include <regex>
#include <sstream>

#include "framework/core/error.hpp"

namespace scorenet::launch {

std::vector<int64_t> parse_seeds(const std::string& text) {
  static const std::regex kPart(R"((\d{1,15})(?:-(\d{1,15}))?)");
  constexpr int64_t kMost = 100'000'000;
  std::vector<int64_t> seeds;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    std::smatch match;
    const bool fits = std::regex_match(part, match, kPart);
    const int64_t first = fits ? std::stoll(match[1]) : 0;
    const int64_t last = fits && match[2].matched ? std::stoll(match[2]) : first;
    const bool too_many = last - first >= kMost - static_cast<int64_t>(seeds.size());
    if (fits && last >= first && too_many) {
      throw ConfigError("--seeds " + text + ": more than " + std::to_string(kMost) +
                        " seeds. Draw them in several parts.");
    }
    if (!fits || last < first) {
      throw ConfigError("--seeds " + text + ": '" + part +
                        "' is no seed or range. Write for example 0-63,100.");
    }
    for (int64_t seed = first; seed <= last; ++seed) seeds.push_back(seed);
  }
  if (seeds.empty()) throw ConfigError("--seeds is empty: write for example 0-63.");
  return seeds;
}

Grid parse_grid(const std::string& text) {
  static const std::regex kGrid(R"((\d{1,4})x(\d{1,4}))");
  std::smatch match;
  if (!std::regex_match(text, match, kGrid) || std::stoll(match[1]) == 0 ||
      std::stoll(match[2]) == 0) {
    throw ConfigError("--grid " + text + ": expected COLUMNSxROWS, for example 8x8.");
  }
  return {std::stoll(match[1]), std::stoll(match[2])};
}

}  // namespace scorenet::launch
