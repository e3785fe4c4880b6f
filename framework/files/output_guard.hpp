// Checks a verb's outputs before it works: no input is overwritten, no file is written twice, an
// older file is replaced only if the user asked for it, and the folder can be written.
//
// Only the process that writes makes this check.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace scorenet::files {

/// A path and the option that gave it, as messages print both: {"--data", "d.h5"}.
struct NamedPath {
  std::string name;
  std::filesystem::path path;
};

/// A file that will be written.
struct Output {
  std::string name;
  std::filesystem::path path;
  bool may_replace = false;      // an older file of this name is replaced
  bool may_make_folder = false;  // its folder may still be missing: the verb makes it
};

/// Throws ConfigError, the exit code of a wrong command line, if an output
///   - is the same file as an input: by device and inode, whatever the spelling or the links. An
///     input may be a folder; then all files in it are inputs;
///   - is the same file as another output, also where neither exists yet;
///   - exists and may not be replaced.
/// Throws FileError, the exit code of unwritable output, if it is no name for a file (a folder, a
/// device, a pipe) or if no file can be made beside it; that is tried, and leaves nothing.
/// Then deletes temporary files that killed writers of the same names have left (temporaries.hpp).
/// Empty paths (options that were not given) are ignored. So are inputs that do not exist: opening
/// them gives a better error.
void check_outputs(const std::vector<NamedPath>& inputs, const std::vector<Output>& outputs);

/// Makes a folder for outputs, and those above it. Throws FileError "NAME PATH: ...".
void make_output_folder(const NamedPath& folder);

/// A name beside `target` for a library that writes files itself, such as HDF5. commit() syncs that
/// file and renames it over the target; without commit it is removed.
class ReplacingFile {
 public:
  explicit ReplacingFile(const std::filesystem::path& target);
  ~ReplacingFile();
  ReplacingFile(const ReplacingFile&) = delete;
  ReplacingFile& operator=(const ReplacingFile&) = delete;

  const std::filesystem::path& path() const { return temporary_; }
  /// Throws FileError; then the target is unchanged.
  void commit();

 private:
  std::filesystem::path target_, temporary_;
};

}  // namespace scorenet::files
