// "0-63,100": whole numbers and closed ranges of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace scorenet::launch {

struct NumberList {
  std::vector<int64_t> numbers;  // in the order given, up to what is wrong
  std::string wrong_part;        // the first part that is no number and no range, or is too long
  bool is_wrong = false;
  bool is_too_long = false;  // wrong_part is a range that makes more than `most` numbers
};

/// Reads the parts between commas. A number has at most `digits` digits (up to 15); the first of a
/// range may be negative where `negative` is set.
NumberList read_number_list(const std::string& text, int digits, bool negative, int64_t most);

}  // namespace scorenet::launch
