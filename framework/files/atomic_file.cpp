#include "framework/files/atomic_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "framework/core/host_name.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::files {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what, int reason) {
  std::string advice = "Check the path and its permissions.";
  if (reason == ENOSPC || reason == EDQUOT) advice = "Free some space or choose another folder.";
  if (reason == EROFS || reason == EACCES) advice = "Choose a folder that can be written.";
  throw FileError(path.string() + ": " + what + ": " + std::strerror(reason) + ". " + advice);
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

std::filesystem::path temporary_sibling(const std::filesystem::path& target) {
  const std::string stem = "." + target.filename().string() + std::string(kTemporaryMark) +
                           host_name() + "-" + std::to_string(::getpid()) + "-";
  for (int count = 0;; ++count) {
    const auto candidate = folder_of(target) / (stem + std::to_string(count));
    std::error_code ignored;
    if (!std::filesystem::exists(std::filesystem::symlink_status(candidate, ignored))) {
      return candidate;
    }
  }
}

OutputFile::OutputFile(const std::filesystem::path& path, FileLayer& layer)
    : path_(path), layer_(layer), file_(layer.create(path)) {
  if (file_ < 0) fail(path_, "cannot be created", errno);
}

OutputFile::~OutputFile() {
  if (file_ >= 0) layer_.close(file_);
}

void OutputFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = layer_.write(file_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path_, "cannot be written", errno);
    if (written == 0) fail(path_, "cannot be written", ENOSPC);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void OutputFile::sync_and_close() {
  if (layer_.sync(file_) != 0) fail(path_, "cannot be synced to the disk", errno);
  // POSIX leaves the descriptor's state open after a failed close; closing it again could
  // hit another file.
  const int file = std::exchange(file_, -1);
  if (layer_.close(file) != 0) fail(path_, "cannot be closed", errno);
}

AtomicFile::AtomicFile(const std::filesystem::path& target, FileLayer& layer)
    : target_(target),
      temporary_(temporary_sibling(target)),
      layer_(layer),
      file_(temporary_, layer) {}

AtomicFile::~AtomicFile() {
  if (committed_) return;
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::commit() {
  file_.sync_and_close();
  publish(temporary_, target_, layer_);
  committed_ = true;
}

void write_file_atomically(const std::filesystem::path& target, std::string_view bytes,
                           FileLayer& layer) {
  AtomicFile file(target, layer);
  file.write(bytes);
  file.commit();
}

void publish(const std::filesystem::path& temporary, const std::filesystem::path& target,
             FileLayer& layer) {
  if (layer.rename(temporary, target) != 0) fail(target, "cannot be renamed into place", errno);
  if (layer.sync_folder(folder_of(target)) != 0) {
    fail(folder_of(target), "folder cannot be synced to the disk", errno);
  }
}

void sync_file(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(path, "cannot be opened", errno);
  const int result = ::fsync(file);
  const int reason = errno;
  ::close(file);
  if (result != 0) fail(path, "cannot be synced to the disk", reason);
}

std::string read_file(const std::filesystem::path& path) {
  require_regular_file(path);
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(path, "cannot be opened for reading", errno ? errno : EIO);
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (in.bad()) fail(path, "cannot be read", errno ? errno : EIO);
  return bytes;
}

}  // namespace scorenet::files
