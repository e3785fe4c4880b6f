#include "launch/number_list.hpp"

#include <regex>
#include <sstream>

namespace scorenet::launch {

NumberList read_number_list(const std::string& text, int digits, bool negative, int64_t most) {
  const std::string number = "\\d{1," + std::to_string(digits) + "}";
  const std::regex range("(" + std::string(negative ? "-?" : "") + number + ")(?:-(" + number +
                         "))?");
  NumberList list;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    std::smatch match;
    const bool fits = std::regex_match(part, match, range);
    const int64_t first = fits ? std::stoll(match[1]) : 0;
    const int64_t last = fits && match[2].matched ? std::stoll(match[2]) : first;
    const bool is_range = fits && last >= first;
    list.is_too_long = is_range && last - first >= most - static_cast<int64_t>(list.numbers.size());
    if (!is_range || list.is_too_long) {
      list.is_wrong = true;
      list.wrong_part = part;
      return list;
    }
    for (int64_t n = first; n <= last; ++n) list.numbers.push_back(n);
  }
  return list;
}

}  // namespace scorenet::launch
