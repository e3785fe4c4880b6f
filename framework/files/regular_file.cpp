#include "framework/files/regular_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "framework/files/atomic_file.hpp"

namespace scorenet::files {
namespace {

std::string kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "is a folder";
  if (S_ISFIFO(mode)) return "is a pipe";
  if (S_ISSOCK(mode)) return "is a socket";
  return "is a device";
}

}  // namespace

std::string unreadable_because(const std::filesystem::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0)
    return errno == ENOENT || errno == ENOTDIR ? "no such file" : std::strerror(errno);
  if (!S_ISREG(status.st_mode)) return kind_of(status.st_mode);
  return ::access(path.c_str(), R_OK) == 0 ? "" : std::strerror(errno);
}

void require_regular_file(const std::filesystem::path& path) {
  const std::string reason = unreadable_because(path);
  if (reason.empty()) return;
  throw FileError(path.string() + ": " + reason + ", expected a regular file. Check the path.");
}

int64_t regular_file_size(const std::filesystem::path& path) {
  require_regular_file(path);
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<int64_t>(status.st_size) : 0;
}

}  // namespace scorenet::files
