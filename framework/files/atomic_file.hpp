// Files that exist entirely or not at all: written beside their target, synced, then
// renamed over it.
//
// A process that is killed at any moment leaves the old file whole. At worst a file with
// kTemporaryMark in its name remains.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "framework/core/error.hpp"
#include "framework/files/file_layer.hpp"

namespace scorenet::files {

/// A write that failed: one sentence with the path, the operation and the system's reason.
/// Layers with an exit code of their own (data) throw it again as theirs; else it is that
/// of unwritable output.
struct FileError : Error {
  explicit FileError(const std::string& sentence) : Error(ExitCode::checkpoint, sentence) {}
};

/// Part of every temporary name. A file with it whose writer has ended may be deleted.
inline constexpr std::string_view kTemporaryMark = ".tmp-";

/// An unused sibling of `target`: ".NAME.tmp-HOST-PID-COUNT". Nothing is created.
std::filesystem::path temporary_sibling(const std::filesystem::path& target);

/// A file being written. Owns the descriptor; an unfinished file stays on the disk for its
/// owner to remove.
class OutputFile {
 public:
  /// Throws FileError if the file exists or cannot be created.
  explicit OutputFile(const std::filesystem::path& path, FileLayer& layer = real_files());
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::string_view bytes);
  /// Bytes are on the disk when this returns.
  void sync_and_close();

 private:
  std::filesystem::path path_;
  FileLayer& layer_;
  int file_ = -1;
};

/// A file that appears at `target`, whole, at commit(). Destroyed without commit it leaves nothing.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& target, FileLayer& layer = real_files());
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes) { file_.write(bytes); }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  FileLayer& layer_;
  OutputFile file_;
  bool committed_ = false;
};

/// Replaces `target` by a file with these bytes. The folder must exist. Throws FileError; then
/// `target` is unchanged.
void write_file_atomically(const std::filesystem::path& target, std::string_view bytes,
                           FileLayer& layer = real_files());

/// Renames a finished temporary (file or folder) to its target and makes the name
/// durable. Throws FileError.
void publish(const std::filesystem::path& temporary, const std::filesystem::path& target,
             FileLayer& layer = real_files());

/// Syncs a file that another library wrote, such as HDF5. Throws FileError.
void sync_file(const std::filesystem::path& path);

/// The whole file. Throws FileError if it cannot be read.
std::string read_file(const std::filesystem::path& path);

}  // namespace scorenet::files
