// Temporary files of writers that were killed, distinguished from those that are being written.
#pragma once

#include <chrono>
#include <filesystem>
#include <set>
#include <string>

namespace scorenet::files {

struct TemporaryRule {
  bool own_too = false;  // this process writes nothing there now
  // Whether a writer on another machine still runs cannot be seen: its file counts as abandoned if
  // it has not changed for this long.
  std::chrono::seconds foreign_age{600};
};

/// Deletes from `folder` (not deeper) the files and folders with a name of temporary_sibling whose
/// writer has ended. Other names stay. A folder that is not there, or an entry that cannot be
/// deleted, is no error.
void remove_dead_temporaries(const std::filesystem::path& folder, const TemporaryRule& rule = {});

/// The same, only for temporary files of these names.
void remove_dead_temporaries_of(const std::set<std::string>& names,
                                const std::filesystem::path& folder);

}  // namespace scorenet::files
