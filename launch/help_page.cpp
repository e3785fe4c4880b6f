#include "launch/help_page.hpp"

#include <algorithm>
#include <map>

#include "framework/config/fields.hpp"
#include "launch/verb_examples.hpp"

namespace scorenet::launch {
namespace {

std::vector<const CLI::App*> parts_of(const CLI::App& app, bool named) {
  return app.get_subcommands(
      [named](const CLI::App* part) { return part->get_name().empty() != named; });
}

std::string joined(const std::vector<std::string>& words, const std::string& between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::string part;
  for (const char c : text + at) {
    if (c != at) {
      part += c;
      continue;
    }
    part.erase(0, part.find_first_not_of(' '));
    if (!part.empty()) parts.push_back(part);
    part.clear();
  }
  return parts;
}

// CLI11's "INT:POSITIVE", "TEXT:{a,b}", "FLOAT:FLOAT in [0 - 1]" in the words of the config's keys.
void describe_type(const CLI::Option& option, HelpRow& row) {
  if (option.get_type_size() == 0) return;  // a flag
  const std::string type = option.get_type_name();
  const size_t colon = type.find(':');
  const std::string base = type.substr(0, colon);
  const std::string check = colon == std::string::npos ? "" : type.substr(colon + 1);
  static const std::map<std::string, std::string> kBases = {
      {"INT", "a whole number"}, {"UINT", "a whole number >= 0"}, {"FLOAT", "a number"}};
  const auto known = kBases.find(base);
  row.accepts = known == kBases.end() ? "" : known->second;
  if (check.starts_with("{")) {
    row.choices = split(check.substr(1, check.size() - 2), ',');
    row.accepts = joined(row.choices, ", ");
  } else if (check == "POSITIVE") {
    row.accepts += " > 0";
  } else if (check == "NONNEGATIVE") {
    row.accepts += " >= 0";
  } else if (const size_t range = check.find(" in ["); range != std::string::npos) {
    const std::string ends = check.substr(range + 5, check.size() - range - 6);  // "1 - 4096"
    const size_t dash = ends.find(" - ");
    row.accepts += ", " + ends.substr(0, dash) + " to " + ends.substr(dash + 3);
  }
  if (option.get_expected_max() == CLI::detail::expected_max_vector_size)
    row.accepts += row.accepts.empty() ? "one or more" : "; one or more";
}

std::string names_of(const std::set<CLI::Option*>& options) {
  std::vector<std::string> names;
  for (const CLI::Option* option : options) names.push_back(option->get_name());
  return joined(names, ", ");
}

// A description that ends in "[...]" says so what counts where the option is not given.
void take_default(HelpRow& row) {
  const size_t open = row.meaning.rfind(" [");
  if (row.meaning.empty() || row.meaning.back() != ']' || open == std::string::npos) return;
  row.standard = row.meaning.substr(open + 2, row.meaning.size() - open - 3);
  row.meaning.resize(open);
}

HelpRow row_of(const CLI::Option& option) {
  HelpRow row;
  for (const std::string& name : split(option.get_name(option.get_positional(), true), ','))
    row.name += (row.name.empty() ? "" : ", ") + name;
  row.meaning = option.get_description();
  row.standard = option.get_type_size() == 0 ? "" : option.get_default_str();
  describe_type(option, row);
  if (row.standard.empty()) take_default(row);
  if (option.get_required()) row.standard = "required";
  if (!option.get_needs().empty()) row.meaning += "; with " + names_of(option.get_needs());
  if (!option.get_excludes().empty())
    row.meaning += "; not with " + names_of(option.get_excludes());
  return row;
}

// Its own options, and those of its option groups, which are verbs without a name.
void add_options(const CLI::App& verb, const std::string& title, HelpPage& page) {
  HelpSection places{"What it is given", "", {}}, options{title, "", {}};
  for (const CLI::Option* option : verb.get_options()) {
    const bool is_group = verb.get_name().empty() && verb.get_parent();
    if (option->get_group().empty() || (is_group && option == verb.get_help_ptr())) continue;
    (option->get_positional() ? places : options).rows.push_back(row_of(*option));
  }
  if (!places.rows.empty()) page.sections.push_back(std::move(places));
  for (const CLI::App* group : parts_of(verb, /*named=*/false)) {
    std::string words = group->get_description();
    words.erase(words.find_last_not_of(' ') + 1);
    if (!words.empty()) words[0] = static_cast<char>(std::toupper(words[0]));
    add_options(*group, words.empty() ? group->get_group() : words, page);
  }
  if (!options.rows.empty()) page.sections.push_back(std::move(options));
}

void add_parts(const CLI::App& verb, HelpPage& page) {
  HelpSection section{verb.get_parent() ? "Parts" : "Verbs", "", {}};
  for (const CLI::App* part : parts_of(verb, /*named=*/true))
    section.rows.push_back({part->get_name(), "", "", part->get_description()});
  if (section.rows.empty()) return;
  section.note = "`" + page.command + " " + section.rows[0].name + " --help` tells more of one.";
  page.sections.insert(page.sections.begin(), std::move(section));
}

std::string usage_of(const CLI::App& verb, const std::string& command) {
  std::string usage = command;
  if (!parts_of(verb, /*named=*/true).empty())
    return usage + (verb.get_parent() ? " PART" : " VERB");
  for (const CLI::Option* option : verb.get_options()) {
    if (!option->get_positional()) continue;
    std::string name = option->get_name(true, false);
    for (char& c : name) c = static_cast<char>(std::toupper(c));
    if (option->get_expected_max() > 1) name += "...";
    usage += option->get_required() ? " " + name : " [" + name + "]";
  }
  for (const CLI::Option* option : verb.get_options()) {
    if (option->get_positional() || !option->get_required()) continue;
    usage += " " + option->get_name() + " ...";
  }
  return usage + " [OPTIONS]";
}

}  // namespace

std::string path_of(const CLI::App& verb) {
  if (!verb.get_parent()) return "";
  const std::string above = path_of(*verb.get_parent());
  return above.empty() ? verb.get_name() : above + " " + verb.get_name();
}

bool takes_config_keys(const CLI::App& verb) {
  const std::string path = path_of(verb);
  return path == "train" || path == "plan";
}

std::vector<HelpSection> config_sections() {
  config::Config defaults;
  defaults.conditions.push_back({.name = "NAME"});
  std::vector<HelpSection> sections;
  for (const config::Field& field : config::fields(defaults)) {
    const std::string title = "[" + field.section() + "]";
    if (sections.empty() || sections.back().title != title)
      sections.push_back({title, "On the command line: --" + field.section() + ".KEY VALUE", {}});
    sections.back().rows.push_back({field.key(), config::value_string(field),
                                    config::expectation(field), field.help, field.choices});
  }
  return sections;
}

std::vector<const CLI::App*> all_verbs(const CLI::App& program) {
  std::vector<const CLI::App*> verbs;
  for (const CLI::App* verb : parts_of(program, /*named=*/true)) {
    verbs.push_back(verb);
    const auto parts = all_verbs(*verb);
    verbs.insert(verbs.end(), parts.begin(), parts.end());
  }
  return verbs;
}

HelpPage help_page(const CLI::App& verb) {
  HelpPage page;
  const std::string path = path_of(verb);
  page.command = path.empty() ? "scorenet" : "scorenet " + path;
  page.summary = verb.get_description();
  if (path.empty() && page.summary.starts_with("scorenet: ")) page.summary.erase(0, 10);
  page.usage = usage_of(verb, page.command);
  page.examples = examples_of(path);
  add_options(verb, "Options", page);
  add_parts(verb, page);
  page.notes = verb.get_footer();
  if (!takes_config_keys(verb)) return page;
  for (HelpSection& section : config_sections()) page.sections.push_back(std::move(section));
  return page;
}

}  // namespace scorenet::launch
