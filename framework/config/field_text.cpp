// Fields as text: their values, what they accept, and how two configs differ.
#include <charconv>
#include <cstdio>
#include <limits>
#include <map>

#include "framework/config/fields.hpp"

namespace scorenet::config {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr const char* kNone = "none";

std::string number_string(double value) {
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value)
                       .ptr;  // shortest that reads back the same
  std::string text(buffer, end);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";  // stays a float in TOML
  return text;
}
std::string element_string(double v) { return number_string(v); }
std::string element_string(int64_t v) { return std::to_string(v); }
std::string element_string(bool v) { return v ? "true" : "false"; }

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {  // a bare one ends a TOML string
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04X", static_cast<unsigned char>(c));
      out += code;
    } else {
      out += c;
    }
  }
  return out + '"';
}

struct ValueToString {
  std::string operator()(const std::string* v) const { return quoted(*v); }
  template <typename T>
  std::string operator()(const std::vector<T>* v) const {
    std::string out = "[";
    for (size_t i = 0; i < v->size(); ++i) {
      if (i) out += ", ";
      out += element_string(static_cast<T>((*v)[i]));
    }
    return out + "]";
  }
  std::string operator()(const std::vector<std::string>* v) const {
    std::string out = "[";
    for (size_t i = 0; i < v->size(); ++i) out += (i ? ", " : "") + quoted((*v)[i]);
    return out + "]";
  }
  std::string operator()(const std::optional<int64_t>* v) const {
    return *v ? element_string(**v) : quoted(kNone);
  }
  std::string operator()(const data::SplitTable* v) const {
    std::string out;
    for (const auto& [split, entries] : *v)
      out += (out.empty() ? " " : ", ") + quoted(split) + " = " +
             (entries.size() == 1 ? quoted(entries[0]) : (*this)(&entries));
    return "{" + out + (out.empty() ? "}" : " }");
  }
  template <typename T>
  std::string operator()(const T* v) const {
    return element_string(*v);
  }
};

// All digits: a bound that is rounded may exclude itself.
std::string bound_string(double value) {
  char buffer[64];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

std::string bounds_text(double min, double max) {
  std::string out;
  if (min == kTiny)
    out = " > 0";
  else if (min > -kInfinity)
    out = " >= " + bound_string(min);
  if (max < kInfinity) out += (out.empty() ? " <= " : " and <= ") + bound_string(max);
  return out;
}

}  // namespace

std::string value_string(const Field& field) {
  const auto* list = std::get_if<std::vector<std::string>*>(&field.value);
  if (list && field.bare_one && (*list)->size() < 2)
    return quoted((*list)->empty() ? "" : (*list)->front());
  return std::visit(ValueToString{}, field.value);
}

std::vector<Change> changes(const Config& then, const Config& now) {
  Config old_copy = then, new_copy = now;
  std::vector<Change> all;
  // By name: the two may have other conditions.
  std::map<std::string, std::string> old_values;
  for (const Field& field : fields(old_copy)) old_values[field.name] = value_string(field);
  for (const Field& field : fields(new_copy)) {
    const auto found = old_values.find(field.name);
    const std::string old_value = found == old_values.end() ? "not there" : found->second;
    if (old_value != value_string(field))
      all.push_back({field.name, old_value, value_string(field)});
    if (found != old_values.end()) old_values.erase(found);
  }
  for (const auto& [name, value] : old_values) all.push_back({name, value, "not there"});
  return all;
}

std::string expectation(const Field& field) {
  struct TypeName {
    std::string operator()(const bool*) const { return "true or false"; }
    std::string operator()(const int64_t*) const { return "a whole number"; }
    std::string operator()(const double*) const { return "a number"; }
    std::string operator()(const std::string*) const { return "a string"; }
    std::string operator()(const std::vector<bool>*) const { return "a list of true or false"; }
    std::string operator()(const std::vector<int64_t>*) const { return "a list of whole numbers"; }
    std::string operator()(const std::vector<double>*) const { return "a list of numbers"; }
    std::string operator()(const std::vector<std::string>*) const { return "a list of strings"; }
    std::string operator()(const std::optional<int64_t>*) const {
      return "a whole number or \"none\"";
    }
    std::string operator()(const data::SplitTable*) const {
      return "a table such as { train = \"0:900\", test = \"b.h5\" }";
    }
  };
  if (!field.choices.empty()) {
    std::string text = "one of";
    for (size_t i = 0; i < field.choices.size(); ++i) text += (i ? ", " : " ") + field.choices[i];
    return text + (field.bare_one ? ", or a list of them" : "");
  }
  return (field.bare_one ? "a string or " : "") + std::visit(TypeName{}, field.value) +
         (field.or_number ? " or a number" : "") + bounds_text(field.min, field.max);
}

}  // namespace scorenet::config
