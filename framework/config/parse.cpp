#include "framework/config/parse.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <sstream>

#include "framework/config/convention_rules.hpp"
#include "framework/config/fields.hpp"
#include "framework/config/plain_text.hpp"
#include "framework/config/suggest.hpp"
#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::config {
namespace {

std::vector<std::string> names_of(const std::vector<Field>& all) {
  std::vector<std::string> names;
  for (const Field& field : all) names.push_back(field.name);
  return names;
}

std::vector<std::string> sections_of(const std::vector<Field>& all) {
  std::vector<std::string> sections;
  for (const Field& field : all)
    if (sections.empty() || sections.back() != field.section()) sections.push_back(field.section());
  return sections;
}

bool is_section(const std::vector<Field>& all, const std::string& name) {
  return std::any_of(all.begin(), all.end(), [&](const Field& f) { return f.section() == name; });
}

[[noreturn]] void reject_unknown(const std::vector<Field>& all, const std::string& name,
                                 const std::string& where) {
  throw ConfigError(where + "unknown key '" + escaped(name) + "'." +
                    did_you_mean(suggest_key(name, names_of(all))) +
                    " 'scorenet train --help' lists all keys.");
}

Field find_field(const std::vector<Field>& all, const std::string& name, const std::string& where) {
  for (const Field& field : all) {
    if (field.name == name) return field;
  }
  if (is_section(all, name))
    throw ConfigError(where + "'" + name + "' is a section, not a key. Write [" + name +
                      "] and its keys below, or " + name + ".KEY = VALUE.");
  reject_unknown(all, name, where);
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
  bool operator()(std::optional<int64_t>* out) const {
    if (node.value_exact<std::string>() == "none") return out->reset(), true;
    int64_t value = 0;
    if (!(*this)(&value)) return false;
    *out = value;
    return true;
  }
  bool operator()(data::SplitTable* out) const {
    const toml::table* table = node.as_table();
    if (!table) return false;
    data::SplitTable splits;
    for (const auto& [split, entries] : *table)
      if (!put_strings(entries, splits[std::string(split.str())])) return false;
    *out = std::move(splits);
    return true;
  }
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

  // A list of strings, or one alone.
  static bool put_strings(const toml::node& strings, std::vector<std::string>& out) {
    const auto one = strings.value_exact<std::string>();
    if (!one) return Assign{strings}(&out);
    out.clear();
    if (!one->empty()) out.push_back(*one);
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

bool assign_value(const Field& field, const toml::node& node) {
  if (auto* const list = std::get_if<std::vector<std::string>*>(&field.value);
      list && field.bare_one)
    return Assign::put_strings(node, **list);
  auto* const text = std::get_if<std::string*>(&field.value);
  if (!text || !field.or_number || !node.is_number()) return std::visit(Assign{node}, field.value);
  **text = node_text(node);
  return true;
}

void assign(const Field& field, const toml::node& node, const std::string& where) {
  if (assign_value(field, node)) {
    if (field.given) *field.given = true;
    return;
  }
  throw ConfigError(where + field.name + " = " + node_text(node) + ": expected " +
                    expectation(field) + ".");
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string position(const std::string& origin, const toml::node& node) {
  return origin + ", line " + std::to_string(node.source().begin.line) + ": ";
}

// The conditions that a file names, sorted, each with its defaults: fields() then knows their keys.
void add_conditions(const toml::table& file, const std::string& origin, Config& config) {
  const toml::node* section = file.get("condition");
  if (!section) return;
  const auto refuse = [&origin](const toml::node& node, const std::string& name) {
    throw ConfigError(position(origin, node) + name + " = " + node_text(node) +
                      ": expected a section [condition.NAME] with its keys, such as array.");
  };
  if (!section->is_table()) refuse(*section, "condition");
  for (const auto& [name, node] : *section->as_table()) {
    const std::string text(name.str());
    if (!node.is_table()) refuse(node, "condition." + text);
    config.conditions.push_back({.name = text});
  }
}

// A table stands where a section belongs: checked even when it is empty, or a slip in its name
// would go unseen.
void read_table(const toml::table& table, const std::string& prefix, const std::vector<Field>& all,
                const std::string& origin) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    const std::string where = position(origin, node);
    const toml::table* nested = node.as_table();
    if (nested && prefix.empty() && name + "." == kConditionPrefix) {
      for (const auto& [one, keys] : *nested)
        read_table(*keys.as_table(), kConditionPrefix + std::string(one.str()) + ".", all, origin);
    } else if (!nested || !prefix.empty()) {
      assign(find_field(all, name, where), node, where);
    } else if (is_section(all, name)) {
      read_table(*nested, name + ".", all, origin);
    } else {
      const std::string known = suggest_name(name, sections_of(all));
      if (!known.empty() || nested->empty())
        throw ConfigError(where + "unknown section [" + escaped(name) + "]." + did_you_mean(known) +
                          " Sections are " + joined(sections_of(all)) + ".");
      reject_unknown(all, name + "." + std::string(nested->begin()->first.str()), where);
    }
  }
}

bool is_digit(const std::string& text, size_t at) {
  return at < text.size() && std::isdigit(static_cast<unsigned char>(text[at]));
}

// ".001" and "1." are numbers to everyone but TOML: zeros are put where it wants them.
std::string with_zeros(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool before = i > 0 && is_digit(text, i - 1), after = is_digit(text, i + 1);
    const bool half = text[i] == '.' && before != after;
    out += half ? (before ? ".0" : "0.") : std::string(1, text[i]);
  }
  return out;
}

bool holds_floats(const Field& field) {
  return std::holds_alternative<double*>(field.value) ||
         std::holds_alternative<std::vector<double>*>(field.value);
}

// "log(1), affine(0, 2)" into its two entries: commas within brackets part nothing.
std::vector<std::string> bare_strings(const std::string& text) {
  std::vector<std::string> entries(1);
  int depth = 0;
  for (const char c : text) {
    depth += c == '(' || c == '{' ? 1 : c == ')' || c == '}' ? -1 : 0;
    if (c == ',' && depth == 0)
      entries.emplace_back();
    else if (c != ' ' || !entries.back().empty())
      entries.back() += c;
  }
  if (entries.size() == 1 && entries[0].empty()) entries.clear();
  return entries;
}

// A command-line value is read as TOML where that fits the field, as a bare string or
// bare list otherwise.
void assign_argument(const Field& field, const std::string& text) {
  if (auto* target = std::get_if<std::string*>(&field.value)) {
    **target = text;
    if (field.given) *field.given = true;
    return;
  }
  if (auto* target = std::get_if<std::vector<std::string>*>(&field.value);
      target && (text.empty() || text[0] != '[')) {
    **target = bare_strings(text);
    return;
  }
  const bool is_list = std::holds_alternative<std::vector<bool>*>(field.value) ||
                       std::holds_alternative<std::vector<int64_t>*>(field.value) ||
                       std::holds_alternative<std::vector<std::string>*>(field.value) ||
                       std::holds_alternative<std::vector<double>*>(field.value);
  const std::string bare = holds_floats(field) ? with_zeros(text) : text;
  const std::string value = is_list && (bare.empty() || bare[0] != '[') ? "[" + bare + "]" : bare;
  const bool is_axis = std::holds_alternative<std::optional<int64_t>*>(field.value);
  const std::string where = "--" + field.name + ": ";
  if (is_axis && text == "none") return assign(field, toml::value<std::string>(text), where);
  try {
    const toml::table table = toml::parse("value = " + value);
    if (const toml::node* node = table.get("value"); node && table.size() == 1)
      return assign(field, *node, where);
  } catch (const toml::parse_error&) {  // told below, in the command line's terms
  }
  throw ConfigError(where + "'" + text + "': expected " + expectation(field) + ".");
}

// What its own key leaves open follows other keys: attention at the coarsest level, however
// many there are.
void follow(Config& config) {
  follow_convention(config);
  if (config.model.attention_given) return;
  config.model.unet.attention.assign(config.model.unet.channels.size(), false);
  if (!config.model.unet.channels.empty()) config.model.unet.attention.back() = true;
}

// Far above any config; below it neither text nor nesting can exhaust memory or stack.
constexpr int64_t kMostBytes = 4 << 20;
constexpr int64_t kDeepest = 32;

// A key of thousands of parts or brackets in brackets make the parser recurse: counted on each line
// before it starts.
void check_depth(const std::string& text, const std::string& origin) {
  int64_t line = 1, parts = 0, brackets = 0;
  char before = 0;
  for (const char c : text) {
    parts = c == '.' && before != '.'                         ? parts + 1
            : (c == '\n' || c == ',' || c == ']' || c == '=') ? 0
                                                              : parts;
    brackets += c == '[' || c == '{' ? 1 : c == ']' || c == '}' ? -1 : 0;
    brackets = std::max<int64_t>(brackets, 0);
    if (parts > kDeepest || brackets > kDeepest) {
      throw ConfigError(
          origin + ", line " + std::to_string(line) + ": nested more than " +
          std::to_string(kDeepest) +
          " deep. A config has only sections, keys and lists. Remove the inner ones.");
    }
    if (c == '\n') ++line;
    before = c;
  }
}

}  // namespace

Config parse_text(const std::string& text, const std::string& origin) {
  if (static_cast<int64_t>(text.size()) > kMostBytes) {
    throw ConfigError(origin + ": " + std::to_string(text.size()) +
                      " bytes are no config, which has a few thousand. Check the path.");
  }
  check_depth(text, origin);
  Config config;
  try {
    const toml::table file = toml::parse(text);
    add_conditions(file, origin, config);
    read_table(file, "", fields(config), origin);
  } catch (const toml::parse_error& e) {
    throw ConfigError(origin + ", line " + std::to_string(e.source().begin.line) + ": " +
                      escaped(e.description()) + ". Correct the TOML there.");
  }
  follow(config);
  return config;
}

Config parse_file(const std::string& path) {
  const std::string reason = files::unreadable_because(path);
  if (!reason.empty()) {
    throw ConfigError(path + ": " + reason +
                      ". Give the path of a TOML file, such as configs/quickstart.toml.");
  }
  if (const int64_t bytes = files::regular_file_size(path); bytes > kMostBytes) {
    throw ConfigError(path + ": " + std::to_string(bytes) +
                      " bytes are no config, which has a few thousand. Check the path.");
  }
  return parse_text(files::read_file(path), path);
}

// --condition.NAME.array of a name that the file does not have adds it.
static void add_conditions(const std::vector<std::string>& arguments, Config& config) {
  const std::string prefix = std::string("--") + kConditionPrefix;
  for (const std::string& argument : arguments) {
    const std::string key = argument.substr(0, argument.find('='));
    const size_t dot = key.rfind('.');
    if (!key.starts_with(prefix) || dot < prefix.size()) continue;
    const std::string name = key.substr(prefix.size(), dot - prefix.size());
    const auto place = std::lower_bound(
        config.conditions.begin(), config.conditions.end(), name,
        [](const data::ConditionMap& one, const std::string& wanted) { return one.name < wanted; });
    if (place == config.conditions.end() || place->name != name)
      config.conditions.insert(place, {.name = name});
  }
}

void apply_overrides(Config& config, const std::vector<std::string>& arguments) {
  add_conditions(arguments, config);
  const std::vector<Field> all = fields(config);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (!argument.starts_with("--")) {
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
  follow(config);
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

}  // namespace scorenet::config
