// Only regular files are opened: reading a pipe, a device or a socket can wait for ever.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace scorenet::files {

/// What stands in the way of reading `path` as a file: "no such file", "is a folder", "is a pipe",
/// "permission denied", ... Empty for a regular file (links are followed) that this process may
/// read. Opens nothing, so it never waits.
std::string unreadable_because(const std::filesystem::path& path);

/// Throws FileError "PATH: is a pipe, expected a regular file. ..." unless `path` is a regular file
/// that may be read. Layers with an exit code of their own throw it again as theirs.
void require_regular_file(const std::filesystem::path& path);

/// Its size in bytes. Throws as require_regular_file.
int64_t regular_file_size(const std::filesystem::path& path);

}  // namespace scorenet::files
