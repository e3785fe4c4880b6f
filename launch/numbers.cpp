#include "launch/numbers.hpp"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

namespace scorenet::launch {
namespace {

// All of the text as a T.
template <typename T>
std::optional<T> number_in(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

CLI::Validator number_that(bool (*fits)(double), const std::string& bound,
                           const std::string& name) {
  const auto check = [fits, bound](const std::string& text) {
    const auto value = number_in<double>(text);
    if (value && std::isfinite(*value) && fits(*value)) return std::string();
    return "'" + text + "': expected a number " + bound;
  };
  return {check, name};
}

template <typename T>
CLI::Validator whole_number(const std::string& expected) {
  return {[expected](const std::string& text) {
            return number_in<T>(text) ? "" : "'" + text + "': expected " + expected;
          },
          ""};
}

void refuse_in(CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::string base = type.substr(0, type.find(':'));
  if (option.get_type_size() == 0) return;  // a flag
  // First of an option's checks, since each of the others reads the text as it likes.
  if (base == "INT") option.transform(whole_number<int64_t>("a whole number of at most 64 bits"));
  if (base == "UINT") option.transform(whole_number<uint64_t>("a whole number from 0 to 2^64 - 1"));
  if (base == "FLOAT") {
    option.transform({[](const std::string& text) {
                        const auto value = number_in<double>(text);
                        return value && !std::isnan(*value) ? ""
                                                            : "'" + text + "': expected a number";
                      },
                      ""});
  }
}

}  // namespace

// The names are those that the help knows.
CLI::Validator positive_number() {
  return number_that([](double value) { return value > 0; }, "> 0", "POSITIVE");
}

CLI::Validator non_negative_number() {
  return number_that([](double value) { return value >= 0; }, ">= 0", "NONNEGATIVE");
}

void refuse_what_is_no_number(CLI::App& app) {
  for (CLI::Option* option : app.get_options({})) refuse_in(*option);
  for (CLI::App* verb : app.get_subcommands({})) refuse_what_is_no_number(*verb);
}

}  // namespace scorenet::launch
