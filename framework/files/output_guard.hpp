// What a verb is about to write, checked before its work: nothing that it reads is lost, no
// file is written twice, an older one is replaced only when that was asked for, and its folder
// can be written.
//
// One process checks, the one that writes.
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
  bool may_replace = false;      // an older file of this name gives way
  bool may_make_folder = false;  // its folder may still be missing: the verb makes it
};

/// Throws ConfigError, the exit code of a wrong command line, if an output
///   - is the same file as an input: by device and inode, whatever the spelling or the links. An
///     input may be a folder; then all files in it are inputs;
///   - is the same file as another output, also where neither exists yet;
///   - exists and may not be replaced.
/// Throws FileError, the exit code of unwritable output, if it is no name for a file (a folder, a
/// device, a pipe) or if no file can be made beside it; that is tried, and leaves nothing.
/// Then clears what killed writers of the same names have left beside them (temporaries.hpp).
/// Empty paths are options that were not given: they are passed over. So are inputs that do not
/// exist: who opens them says so better.
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
