#include "launch/hbar_schedule.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "framework/core/error.hpp"
#include "framework/diffusion/hbar_shape.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::launch {
namespace {

// "0 0.5" and "0:0.5" as the latter; empty for a line without words.
std::string pair_of(std::string line) {
  line.erase(std::min(line.find('#'), line.size()));
  std::istringstream words(line);
  std::string pair;
  for (std::string word; words >> word;) pair += (pair.empty() ? "" : ":") + word;
  return pair;
}

std::string read_schedule(const std::string& path) {
  std::ifstream in;
  if (files::unreadable_because(path).empty()) in.open(path);  // nothing that would be waited for
  const bool is_open = in.is_open();
  std::string text;
  for (std::string line; std::getline(in, line);) {
    const std::string pair = pair_of(line);
    if (!pair.empty()) text += (text.empty() ? "" : ",") + pair;
  }
  if (is_open && in.eof()) return text;
  throw DataError("--hbar-schedule " + path +
                  ": cannot be read. Give t:value pairs such as 0:0,0.5:1, or a file of them.");
}

}  // namespace

std::string hbar_schedule_text(const std::string& argument) {
  const std::string text =
      argument.find(':') == std::string::npos ? read_schedule(argument) : argument;
  diffusion::parse_hbar_shape(text);
  return text;
}

void add_hbar_schedule_option(CLI::App* verb, std::string& text) {
  verb->add_option_function<std::string>(
      "--hbar-schedule",
      [&text](const std::string& argument) { text = hbar_schedule_text(argument); },
      "factor of h over time: linear between t:value pairs such as 0:0,0.5:1 (two values at one "
      "t: a jump), or a file with one pair per line");
}

}  // namespace scorenet::launch
