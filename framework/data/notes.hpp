// Counts what a conversion leaves out, turns or reduces, and reports the counts once at its end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace scorenet::data {

class Notes {
 public:
  /// Counts one more case of `what`, for example "hidden, left out" with the name ".git". An empty
  /// name is only counted.
  void add(const std::string& what, const std::string& name);
  /// Adds a line, reported once.
  void tell(const std::string& line);
  /// One line for each `what` and each tell(), in the order of their first case:
  /// "WHAT: COUNT (NAME, NAME, ...)" with at most eight names.
  std::vector<std::string> lines() const;

 private:
  struct Kind {
    std::string what;
    int64_t count = 0;  // 0: a line of its own
    std::vector<std::string> names;
  };
  std::vector<Kind> kinds_;
};

/// `text` on one line: control characters as \xNN.
std::string printable(const std::string& text);

}  // namespace scorenet::data
