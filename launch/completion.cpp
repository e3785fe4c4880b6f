#include "launch/completion.hpp"

#include <sstream>

#include "launch/help_page.hpp"

namespace scorenet::launch {
namespace {

// Rows of options: those of the config's tables under their full names.
std::vector<HelpRow> options_of(const HelpPage& page) {
  std::vector<HelpRow> options;
  for (const HelpSection& section : page.sections) {
    const bool is_table = section.title.starts_with("[");
    const std::string prefix = "--" + section.title.substr(1, section.title.size() - 2) + ".";
    for (HelpRow row : section.rows) {
      if (is_table) row.name = prefix + row.name;
      if (row.name.starts_with("-")) options.push_back(std::move(row));
    }
  }
  return options;
}

// "-n, --dry-run" as two words.
std::string words_of(const std::string& names) {
  std::string words;
  for (const char c : names) words += c == ',' ? "" : std::string(1, c);
  return words;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

std::string parts_of(const CLI::App& verb) {
  std::vector<std::string> names;
  for (const CLI::App* part :
       verb.get_subcommands([](const CLI::App* one) { return !one->get_name().empty(); }))
    names.push_back(part->get_name());
  return joined(names);
}

}  // namespace

std::string bash_completion(const CLI::App& program) {
  std::ostringstream verbs, words, values;
  std::string bare = "-z $verb";  // where the next word may be a verb or a part of one
  words << "    '') words='" << parts_of(program) << " --help --version' ;;\n";
  for (const CLI::App* verb : all_verbs(program)) {
    const std::string path = path_of(*verb);
    const size_t space = path.rfind(' ');
    const std::string above = space == std::string::npos ? "" : path.substr(0, space);
    verbs << "      '" << above << "/" << verb->get_name() << "') verb='" << path << "' ;;\n";
    std::string all = parts_of(*verb);
    if (!all.empty()) bare += " || $verb == " + path;
    for (const HelpRow& row : options_of(help_page(*verb))) {
      all += (all.empty() ? "" : " ") + words_of(row.name);
      if (row.choices.empty()) continue;
      std::string patterns;
      std::istringstream names(words_of(row.name));
      for (std::string name; names >> name;)
        patterns += (patterns.empty() ? "'" : "|'") + path + "/" + name + "'";
      values << "    " << patterns << ") words='" << joined(row.choices) << "' ;;\n";
    }
    words << "    '" << path << "') words='" << all << "' ;;\n";
  }
  return "# bash completion for scorenet, made by `scorenet completion bash`.\n"
         "_scorenet() {\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= words= i\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    case \"$verb/${COMP_WORDS[i]}\" in\n" +
         verbs.str() +
         "    esac\n"
         "  done\n"
         "  case \"$verb/$prev\" in\n" +
         values.str() +
         "  esac\n"
         "  if [[ -z $words && ( $cur == -* || " +
         bare +
         " ) ]]; then\n"
         "    case \"$verb\" in\n" +
         words.str() +
         "    esac\n"
         "  fi\n"
         "  COMPREPLY=()\n"
         "  [[ -n $words ]] && mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
         "}\n"
         "complete -o default -F _scorenet scorenet\n";
}

}  // namespace scorenet::launch
