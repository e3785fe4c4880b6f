#include "launch/output_options.hpp"

namespace scorenet::launch {
namespace {

// A shell variable that is not set arrives as an empty text, and would mean "here" or "nowhere".
std::string refuse_empty(const std::string& text) {
  return text.empty() ? "is empty, expected a path" : "";
}

}  // namespace

CLI::Option* add_output_option(CLI::App* verb, const std::string& name, std::string& path,
                               const std::string& text) {
  return verb->add_option(name, path, text)->check(CLI::Validator(refuse_empty, ""));
}

void add_force_flag(CLI::App* verb, bool& force) {
  verb->add_flag("--force", force,
                 "replace a file that exists; without it, an existing file is an error");
}

}  // namespace scorenet::launch
