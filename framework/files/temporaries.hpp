// What killed writers leave behind, told apart from what a living one is writing.
#pragma once

#include <chrono>
#include <filesystem>
#include <set>
#include <string>

namespace scorenet::files {

struct TemporaryRule {
  bool own_too = false;  // this process writes nothing there now
  // Of a writer on another host nobody can say whether it lives: its file is given up when it has
  // not changed for so long.
  std::chrono::seconds foreign_age{600};
};

/// Deletes from `folder` (not deeper) the files and folders with a name of temporary_sibling whose
/// writer has ended. Other names stay. A folder that is not there, or an entry that cannot be
/// deleted, is no error.
void remove_dead_temporaries(const std::filesystem::path& folder, const TemporaryRule& rule = {});

/// Those alone that killed writers of files with these names left there.
void remove_dead_temporaries_of(const std::set<std::string>& names,
                                const std::filesystem::path& folder);

}  // namespace scorenet::files
