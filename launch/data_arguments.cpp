#include "launch/data_arguments.hpp"

#include <algorithm>
#include <array>

#include "framework/config/fields.hpp"

namespace scorenet::launch {
namespace {

constexpr std::array kKeys{"data.arrays",  "data.sample_axes", "data.channel_axis", "data.window",
                           "data.reshape", "data.splits",      "data.labels_array"};

}  // namespace

void add_map_options(CLI::App* verb, std::vector<std::string>& said,
                     const std::vector<std::string>& more) {
  config::Config defaults;
  for (const config::Field& field : config::fields(defaults)) {
    const bool wanted = std::find(kKeys.begin(), kKeys.end(), field.name) != kKeys.end() ||
                        std::find(more.begin(), more.end(), field.name) != more.end();
    if (!wanted) continue;
    verb->add_option_function<std::string>(
        "--" + field.name,
        [&said, name = field.name](const std::string& value) {
          said.push_back("--" + name + "=" + value);
        },
        field.help);
  }
}

std::vector<files::NamedPath> data_files(const data::DataMap& map) {
  std::vector<files::NamedPath> inputs;
  for (const std::string& file : data::files_of(map)) inputs.push_back({"data.path", file});
  return inputs;
}

}  // namespace scorenet::launch
