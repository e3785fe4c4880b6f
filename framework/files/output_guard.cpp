#include "framework/files/output_guard.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <set>

#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/temporaries.hpp"

namespace scorenet::files {
namespace {

namespace fs = std::filesystem;

std::string text_of(const std::string& name, const fs::path& path) {
  return name + " " + path.string();
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

// One name for all spellings of a path, whether or not the file exists.
fs::path plain_name(const fs::path& path) {
  std::error_code error;
  const fs::path plain = fs::weakly_canonical(fs::absolute(path, error), error);
  return error ? fs::absolute(path, error).lexically_normal() : plain;
}

bool same_file(const fs::path& a, const fs::path& b) {
  struct stat first{}, second{};
  if (::stat(a.c_str(), &first) != 0 || ::stat(b.c_str(), &second) != 0)
    return plain_name(a) == plain_name(b);
  return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

// Whether the existing file is one of those in the folder, at any depth.
bool holds(const fs::path& folder, const fs::path& file) {
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied,
                                         error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error))
    if (same_file(entry->path(), file)) return true;
  return false;
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

void check_against_inputs(const Output& output, const std::vector<NamedPath>& inputs) {
  std::error_code ignored;
  if (!fs::exists(output.path, ignored)) return;  // nothing can be lost
  for (const NamedPath& input : inputs) {
    if (input.path.empty() || !fs::exists(input.path, ignored)) continue;
    if (!same_file(output.path, input.path) &&
        !(is_folder(input.path) && holds(input.path, output.path)))
      continue;
    throw ConfigError(text_of(output.name, output.path) + ": is a file that " +
                      text_of(input.name, input.path) +
                      " reads, and would be lost. Choose another name to write to.");
  }
}

// What two names of one file have in common.
std::string identity(const fs::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return plain_name(path).string();
  return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
}

void check_against_outputs(const std::vector<Output>& outputs) {
  std::map<std::string, const Output*> seen;
  for (const Output& output : outputs) {
    if (output.path.empty()) continue;
    const auto [before, is_new] = seen.try_emplace(identity(output.path), &output);
    if (is_new) continue;
    throw ConfigError(text_of(output.name, output.path) + ": is the same file as " +
                      text_of(before->second->name, before->second->path) +
                      ", of which one would be lost. Give each a name of its own.");
  }
}

void check_name(const Output& output) {
  std::error_code ignored;
  const fs::file_status status = fs::symlink_status(output.path, ignored);
  if (is_folder(output.path) || !output.path.has_filename()) {
    throw FileError(text_of(output.name, output.path) +
                    ": names a folder, expected the name of a file. Add one.");
  }
  if (!fs::exists(status)) return;
  if (fs::exists(output.path, ignored) && !fs::is_regular_file(output.path, ignored)) {
    throw FileError(text_of(output.name, output.path) +
                    ": is a pipe, a device or a socket, expected the name of a file that can be "
                    "written beside it and renamed. Choose another name.");
  }
  if (output.may_replace) return;
  throw ConfigError(text_of(output.name, output.path) +
                    ": exists already. Choose another name, or replace it with --force.");
}

// The nearest folder above that exists: where a missing one will be made.
fs::path nearest_existing(fs::path folder) {
  std::error_code ignored;
  while (!fs::exists(folder, ignored) && folder != folder_of(folder)) folder = folder_of(folder);
  return folder;
}

// Asking for permission is not enough: a network file system, a quota or a name that is too long
// refuses only the file itself.
void try_to_write(const Output& output, const fs::path& folder) {
  const fs::path probe = temporary_sibling(folder / output.path.filename());
  const int file = real_files().create(probe);
  if (file < 0) {
    throw FileError(text_of(output.name, output.path) + ": no file can be made in the folder " +
                    folder.string() + " (" + std::strerror(errno) +
                    "). Choose a folder that can be written.");
  }
  real_files().close(file);
  std::error_code ignored;
  fs::remove(probe, ignored);
}

// Where the file will be, or its folder will be made.
fs::path check_folder(const Output& output) {
  const fs::path wanted = folder_of(output.path);
  const fs::path folder = output.may_make_folder ? nearest_existing(wanted) : wanted;
  std::error_code ignored;
  if (!fs::exists(folder, ignored)) {
    throw FileError(text_of(output.name, output.path) + ": there is no folder " + folder.string() +
                    ". Make it first, or choose another.");
  }
  if (!is_folder(folder)) {
    throw FileError(text_of(output.name, output.path) + ": " + folder.string() +
                    " is a file, expected a folder. Choose another folder.");
  }
  return folder;
}

void clear_left_behind(const std::vector<Output>& outputs) {
  std::map<fs::path, std::set<std::string>> names;
  for (const Output& output : outputs)
    if (!output.path.empty()) names[folder_of(output.path)].insert(output.path.filename().string());
  for (const auto& [folder, of] : names) remove_dead_temporaries_of(of, folder);
}

}  // namespace

void check_outputs(const std::vector<NamedPath>& inputs, const std::vector<Output>& outputs) {
  check_against_outputs(outputs);
  std::set<std::pair<fs::path, size_t>> tried;
  for (const Output& output : outputs) {
    if (output.path.empty()) continue;
    check_against_inputs(output, inputs);
    check_name(output);
    const fs::path folder = check_folder(output);
    // Thousands of pictures go to one folder: a name of each length is enough.
    if (tried.emplace(folder, output.path.filename().string().size()).second)
      try_to_write(output, folder);
  }
  clear_left_behind(outputs);
}

void make_output_folder(const NamedPath& folder) {
  std::error_code error;
  fs::create_directories(folder.path, error);
  if (!error && is_folder(folder.path)) return;
  throw FileError(text_of(folder.name, folder.path) + ": cannot be made (" +
                  (error ? error.message() : "is a file") + "). Choose a folder you may write to.");
}

ReplacingFile::ReplacingFile(const fs::path& target)
    : target_(target), temporary_(temporary_sibling(target)) {}

ReplacingFile::~ReplacingFile() {
  std::error_code ignored;
  fs::remove(temporary_, ignored);  // after commit there is no such name
}

void ReplacingFile::commit() {
  sync_file(temporary_);
  publish(temporary_, target_);
}

}  // namespace scorenet::files
