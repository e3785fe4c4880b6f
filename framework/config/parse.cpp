#include "framework/config/parse.hpp"

#include <toml++/toml.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "framework/config/fields.hpp"
#include "framework/core/error.hpp"

namespace scorenet::config {
namespace {

std::vector<std::string> names_of(const std::vector<Field>& all) {
  std::vector<std::string> names;
  for (const Field& field : all) names.push_back(field.name);
  return names;
}

Field find_field(const std::vector<Field>& all, const std::string& name, const std::string& where) {
  for (const Field& field : all) {
    if (field.name == name) return field;
  }
  throw ConfigError(where + "unknown key '" + name + "'. Did you mean '" +
                    nearest_name(name, names_of(all)) +
                    "'? 'scorenet train --help' lists all keys.");
}

// Assigns a TOML node to a field; false where the type does not fit. A whole number is a valid
// float, not vice versa.
struct Assign {
  const toml::node& node;

  bool operator()(bool* out) const { return put(node.value_exact<bool>(), out); }
  bool operator()(int64_t* out) const { return put(node.value_exact<int64_t>(), out); }
  bool operator()(double* out) const {
    if (const auto whole = node.value_exact<int64_t>())
      return *out = static_cast<double>(*whole), true;
    return put(node.value_exact<double>(), out);
  }
  bool operator()(std::string* out) const { return put(node.value_exact<std::string>(), out); }
  template <typename T>
  bool operator()(std::vector<T>* out) const {
    const toml::array* array = node.as_array();
    if (!array) return false;
    std::vector<T> values;
    for (const toml::node& element : *array) {
      T value{};
      if (!Assign{element}(&value)) return false;
      values.push_back(value);
    }
    *out = std::move(values);
    return true;
  }

 private:
  template <typename T>
  static bool put(const std::optional<T>& value, T* out) {
    if (value) *out = *value;
    return value.has_value();
  }
};

std::string node_text(const toml::node& node) {
  std::ostringstream out;
  node.visit([&](const auto& typed) { out << typed; });
  return out.str();
}

void assign(const Field& field, const toml::node& node, const std::string& where) {
  if (std::visit(Assign{node}, field.value)) return;
  throw ConfigError(where + field.name + " = " + node_text(node) + ": expected " +
                    expectation(field) + ".");
}

std::string position(const std::string& origin, const toml::node& node) {
  return origin + ", line " + std::to_string(node.source().begin.line) + ": ";
}

void read_table(const toml::table& table, const std::string& prefix, const std::vector<Field>& all,
                const std::string& origin) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    if (const toml::table* nested = node.as_table()) {
      read_table(*nested, name + ".", all, origin);
    } else {
      const std::string where = position(origin, node);
      assign(find_field(all, name, where), node, where);
    }
  }
}

// A command-line value is read as TOML where that fits the field, as a bare string or bare list
// otherwise.
void assign_argument(const Field& field, const std::string& text) {
  if (auto* target = std::get_if<std::string*>(&field.value)) {
    **target = text;
    return;
  }
  const bool is_list = std::holds_alternative<std::vector<bool>*>(field.value) ||
                       std::holds_alternative<std::vector<int64_t>*>(field.value) ||
                       std::holds_alternative<std::vector<double>*>(field.value);
  const std::string value = is_list && (text.empty() || text[0] != '[') ? "[" + text + "]" : text;
  const std::string where = "--" + field.name + ": ";
  try {
    const toml::table table = toml::parse("value = " + value);
    if (const toml::node* node = table.get("value"); node && table.size() == 1)
      return assign(field, *node, where);
  } catch (const toml::parse_error&) {  // told below, in the command line's terms
  }
  throw ConfigError(where + "'" + text + "': expected " + expectation(field) + ".");
}

}  // namespace

Config parse_text(const std::string& text, const std::string& origin) {
  Config config;
  try {
    read_table(toml::parse(text), "", fields(config), origin);
  } catch (const toml::parse_error& e) {
    throw ConfigError(origin + ", line " + std::to_string(e.source().begin.line) + ": " +
                      std::string(e.description()) + ". Correct the TOML there.");
  }
  return config;
}

Config parse_file(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) {
    throw ConfigError(
        path + ": cannot be read. Give the path of a TOML file, such as configs/quickstart.toml.");
  }
  return parse_text(text.str(), path);
}

void apply_overrides(Config& config, const std::vector<std::string>& arguments) {
  const std::vector<Field> all = fields(config);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument.rfind("--", 0) != 0) {
      throw ConfigError("command line: unexpected '" + argument +
                        "'; expected --section.key value.");
    }
    const size_t equals = argument.find('=');
    const Field field =
        find_field(all, argument.substr(2, equals == std::string::npos ? equals : equals - 2),
                   "command line: ");
    if (equals != std::string::npos) {
      assign_argument(field, argument.substr(equals + 1));
    } else if (i + 1 < arguments.size()) {
      assign_argument(field, arguments[++i]);
    } else {
      throw ConfigError("--" + field.name + ": needs a value, " + expectation(field) + ".");
    }
  }
}

std::string to_toml(const Config& config) {
  Config copy = config;
  std::string out, section;
  for (const Field& field : fields(copy)) {
    if (field.section() != section) {
      out += (section.empty() ? "[" : "\n[") + field.section() + "]\n";
      section = field.section();
    }
    out += field.key() + " = " + value_string(field) + "\n";
  }
  return out;
}

std::string help_text() {
  Config defaults;
  std::string out =
      "Config keys (in the file as [section] key = value, here as --section.key value):\n";
  for (const Field& field : fields(defaults)) {
    out += "  --" + field.name + "  " + field.help + "; " + expectation(field) + " [" +
           value_string(field) + "]\n";
  }
  return out;
}

}  // namespace scorenet::config
