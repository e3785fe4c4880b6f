#include "launch/seed_list.hpp"

#include <regex>
#include <utility>

#include "framework/core/error.hpp"
#include "launch/number_list.hpp"

namespace scorenet::launch {

std::vector<int64_t> parse_seeds(const std::string& text) {
  constexpr int64_t kMost = 100'000'000;
  NumberList list = read_number_list(text, 15, /*negative=*/false, kMost);
  if (list.is_too_long) {
    throw ConfigError("--seeds " + text + ": more than " + std::to_string(kMost) +
                      " seeds. Draw them in several parts.");
  }
  if (list.is_wrong) {
    throw ConfigError("--seeds " + text + ": '" + list.wrong_part +
                      "' is no seed or range. Write for example 0-63,100.");
  }
  if (list.numbers.empty()) throw ConfigError("--seeds is empty: write for example 0-63.");
  return std::move(list.numbers);
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
