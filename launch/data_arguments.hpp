// --data.KEY VALUE for verbs that read data by another's config: the keys of a map from files to
// samples (framework/data/data_map.hpp), as `train` takes them.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "framework/config/config.hpp"
#include "framework/files/output_guard.hpp"

namespace scorenet::launch {

/// Options for every key of a map but data.path, and for those of `more`. Each that is given is
/// appended to `said`, as config::apply_overrides takes it.
void add_map_options(CLI::App* verb, std::vector<std::string>& said,
                     const std::vector<std::string>& more = {});

/// The files that a config's data lie in, for files::check_outputs.
std::vector<files::NamedPath> data_files(const data::DataMap& map);

}  // namespace scorenet::launch
