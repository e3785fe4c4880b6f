// A config: TOML, its keys and values, and the rules between them.
#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"
#include "tests/fuzz/target_support.hpp"
#include "tests/fuzz/targets.hpp"

namespace scorenet::fuzz {

bool config(std::string_view bytes) {
  config::Config config;
  if (!takes<ConfigError>([&] { config = config::parse_text(std::string(bytes), "x.toml"); }))
    return false;
  const bool valid = takes<ConfigError>([&] { config::validate(config, 1); });
  takes<ConfigError>([&] { config::validate(config, 3); });
  const std::string text = config::to_toml(config);
  demand(config::to_toml(config::parse_text(text, "again")) == text,
         "the config changed when written again");
  return valid;
}

}  // namespace scorenet::fuzz
