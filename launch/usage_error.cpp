#include "launch/usage_error.hpp"

#include <algorithm>
#include <regex>
#include <vector>

#include "framework/config/suggest.hpp"

namespace scorenet::launch {
namespace {

// The verb that was asked for, and its name with those above it: "scorenet data info".
struct Asked {
  const CLI::App* verb;
  std::string name;
};

Asked deepest(const CLI::App& app) {
  Asked asked{&app, app.get_name()};
  while (true) {
    const auto parsed = asked.verb->get_subcommands();
    const auto named = std::find_if(parsed.begin(), parsed.end(),
                                    [](const CLI::App* verb) { return !verb->get_name().empty(); });
    if (named == parsed.end()) return asked;
    asked = {*named, asked.name + " " + (*named)->get_name()};
  }
}

std::vector<std::string> verbs_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands({}))
    if (!verb->get_name().empty()) names.push_back(verb->get_name());
  return names;
}

// Groups of options are verbs without a name.
void add_options(const CLI::App& app, std::vector<std::string>& names) {
  for (const CLI::Option* option : app.get_options({}))
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  for (const CLI::App* group : app.get_subcommands({}))
    if (group->get_name().empty()) add_options(*group, names);
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string unknown_argument(const Asked& asked, const std::vector<std::string>& left) {
  const auto option = std::find_if(left.begin(), left.end(), [](const std::string& argument) {
    return argument.starts_with("-");
  });
  if (option == left.end()) {
    return left.front() + ": " + asked.name +
           " takes no further argument. Put names with spaces in quotes, or leave it out.";
  }
  std::vector<std::string> known;
  add_options(*asked.verb, known);
  const std::string name = option->substr(0, option->find('='));
  return name + ": " + asked.name + " has no such option." +
         config::did_you_mean(config::suggest_name(name, known));
}

std::string unknown_verb(const Asked& asked, const std::vector<std::string>& left) {
  const auto verbs = verbs_of(*asked.verb);
  const std::string known = " Known are " + joined(verbs) + ".";
  if (left.empty()) return asked.name + ": a verb is missing." + known;
  return asked.name + " " + left.front() + ": no such verb." +
         config::did_you_mean(config::suggest_name(left.front(), verbs)) + known;
}

std::string sentence_of(const CLI::App& app, const CLI::Error& error) {
  static const std::regex kTooOften(R"((.*): At Most (\d+) required but received (\d+))");
  static const std::regex kNoValue(R"((.*): \d+ required .* missing)");
  const Asked asked = deepest(app);
  const auto left = asked.verb->remaining();
  const bool verb_is_missing =
      dynamic_cast<const CLI::RequiredError*>(&error) && !verbs_of(*asked.verb).empty();
  const bool option_first = !left.empty() && left.front().starts_with("-");
  // Keys of the config are left to the verb, and are no options; behind "--" they are out of place.
  const bool keys_are_left = std::any_of(left.begin(), left.end(), [](const std::string& argument) {
    return argument.starts_with("--") && argument.find('.') != std::string::npos;
  });
  if (!left.empty() && !keys_are_left &&
      (dynamic_cast<const CLI::ExtrasError*>(&error) || (verb_is_missing && option_first)))
    return unknown_argument(asked, left);
  if (verb_is_missing) return unknown_verb(asked, left);
  const std::string text = error.what();
  std::smatch match;
  if (std::regex_match(text, match, kTooOften))
    return match[1].str() + ": given " + match[3].str() + " times, expected once.";
  if (std::regex_match(text, match, kNoValue))
    return match[1].str() + ": its value is missing. Write it behind the option.";
  return text.ends_with('.') ? text : text + ".";
}

}  // namespace

std::string said_of(const CLI::App& app, const CLI::Error& error) {
  return sentence_of(app, error) + "\nRun with --help for more information.\n";
}

}  // namespace scorenet::launch
