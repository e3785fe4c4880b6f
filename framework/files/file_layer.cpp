#include "framework/files/file_layer.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace scorenet::files {

int FileLayer::create(const std::filesystem::path& path) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
}

ssize_t FileLayer::write(int file, const void* bytes, size_t count) {
  return ::write(file, bytes, count);
}

int FileLayer::sync(int file) { return ::fsync(file); }

int FileLayer::close(int file) { return ::close(file); }

int FileLayer::rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  return ::rename(from.c_str(), to.c_str());
}

int FileLayer::make_folder(const std::filesystem::path& path) {
  return ::mkdir(path.c_str(), 0755);
}

int FileLayer::sync_folder(const std::filesystem::path& path) {
  const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return -1;
  // Some network file systems cannot sync a folder and say EINVAL; they order renames themselves.
  const bool failed = ::fsync(folder) != 0 && errno != EINVAL;
  const int reason = errno;
  ::close(folder);
  errno = reason;
  return failed ? -1 : 0;
}

FileLayer& real_files() {
  static FileLayer layer;
  return layer;
}

}  // namespace scorenet::files
