#include "launch/known_name.hpp"

#include <algorithm>

#include "framework/config/suggest.hpp"

namespace scorenet::launch {

CLI::Validator known_name(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  const auto check = [names, list](const std::string& value) {
    if (std::count(names.begin(), names.end(), value)) return std::string();
    return "'" + value + "' is not known." +
           config::did_you_mean(config::suggest_name(value, names)) + " Known are " + list + ".";
  };
  return {check, "{" + list + "}"};
}

}  // namespace scorenet::launch
