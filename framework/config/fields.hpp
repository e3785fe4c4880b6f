// The settings as a table: name, place, meaning and bounds of each. All code that visits every key
// uses it.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "framework/config/config.hpp"

namespace scorenet::config {

/// Where a field's value lives; the alternative also names its type.
using FieldPointer =
    std::variant<bool*, int64_t*, double*, std::string*, std::vector<bool>*, std::vector<int64_t>*,
                 std::vector<double>*, std::vector<std::string>*, std::optional<int64_t>*,
                 data::SplitTable*>;

/// As a field's least value: the number must be > 0.
inline constexpr double kTiny = std::numeric_limits<double>::min();

struct Field {
  std::string name;  // "train.learning_rate"
  FieldPointer value;
  std::string help;                                       // one line, with the unit
  double min = -std::numeric_limits<double>::infinity();  // numbers; for lists, of each element
  double max = std::numeric_limits<double>::infinity();
  std::vector<std::string> choices = {};  // strings; empty: anything
  bool* given = nullptr;                  // set to true when the key is given; may be null
  bool or_number = false;                 // strings: a TOML number is taken as its text
  bool bare_one = false;                  // lists of strings: one may stand without brackets

  /// "train", or "condition.NAME".
  std::string section() const { return name.substr(0, name.rfind('.')); }
  std::string key() const { return name.substr(name.rfind('.') + 1); }
};

/// The fields of `config`, pointing into it, in the order of the documentation.
std::vector<Field> fields(Config& config);

/// How the sections of conditions begin: their names are the user's.
inline constexpr const char* kConditionPrefix = "condition.";

/// The value as TOML writes it: 0.001, "unet", [32, 64].
std::string value_string(const Field& field);

/// A key with different values in two configs, as TOML writes them; "not there": of a condition
/// that the other config lacks.
struct Change {
  std::string name, old_value, new_value;

  /// "train.learning_rate = 0.002, was 0.001"
  std::string sentence() const { return name + " = " + new_value + ", was " + old_value; }
};

/// All keys that differ between two configs, in the order of the documentation.
std::vector<Change> changes(const Config& then, const Config& now);

/// "a number >= 0", "one of fp32, bf16": what the field accepts.
std::string expectation(const Field& field);

}  // namespace scorenet::config
