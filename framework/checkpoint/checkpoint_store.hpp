// Checkpoints that exist entirely or not at all.
//
//   ROOT/0000512/...    the files of step 512, and manifest.json with their sizes and checksums
//   ROOT/latest         the name of the newest, "0000512"
//
// A checkpoint is written in a temporary sibling folder: every file synced, the manifest last,
// everything read back and verified; then the folder is renamed, `latest` is replaced, and only
// then older ones are removed. A process killed anywhere leaves the one before untouched. One
// process writes (rank zero); any may read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/checkpoint/manifest.hpp"
#include "framework/checkpoint/safetensors.hpp"
#include "framework/files/file_layer.hpp"
#include "framework/files/step_name.hpp"

namespace scorenet::checkpoint {

using files::step_name;  // ROOT/0000512

class CheckpointWriter {
 public:
  /// Makes ROOT if need be, clears temporary folders that a killed writer left there, and
  /// begins. Throws CheckpointError.
  CheckpointWriter(const std::filesystem::path& root, int64_t step,
                   files::FileLayer& layer = files::real_files());
  /// Without commit(), removes everything.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// One file each; names without folders, each once. Throw CheckpointError (full disk, ...); after
  /// that the writer can only be destroyed.
  void write_tensors(const std::string& file, const TensorMap& tensors,
                     const Metadata& metadata = {});
  void write_text(const std::string& file, std::string_view text);
  void copy_file(const std::filesystem::path& from, const FileRecord& record);

  /// Where files are until commit(): another process may write there too, and this one takes up
  /// what that has written (parts.hpp).
  const std::filesystem::path& folder() const { return temporary_; }
  const Manifest& manifest() const { return manifest_; }
  void take_up(const std::string& file, FileRecord record);

  /// Verifies, publishes, and keeps the `keep` newest up to this step (>= 1). A checkpoint of this
  /// step that exists is replaced. Throws CheckpointError; older checkpoints are then untouched.
  /// Returns sentences about older checkpoints that could not be removed.
  std::vector<std::string> commit(int keep);

 private:
  template <typename Write>
  void write_file(const std::string& file, FileRecord record, const Write& write);
  void require_new(const std::string& file) const;
  std::vector<std::string> remove_older(int keep);

  std::filesystem::path root_;
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  files::FileLayer& layer_;
  Manifest manifest_;
  bool committed_ = false;
};

/// A verified checkpoint.
class CheckpointReader {
 public:
  CheckpointReader(std::filesystem::path folder, Manifest manifest,
                   std::vector<std::string> warnings)
      : folder_(std::move(folder)),
        manifest_(std::move(manifest)),
        warnings_(std::move(warnings)) {}

  const Manifest& manifest() const { return manifest_; }
  int64_t step() const { return manifest_.step; }
  const std::filesystem::path& folder() const { return folder_; }
  /// One sentence for each newer checkpoint that was damaged and therefore skipped.
  const std::vector<std::string>& warnings() const { return warnings_; }
  /// Whole or in parts.
  bool has(const std::string& file) const;

  /// Throw CheckpointError if there is no such file. Of a file in parts the tensors are whole.
  Safetensors tensors(const std::string& file) const;
  std::string text(const std::string& file) const;

 private:
  std::filesystem::path path_of(const std::string& file) const;

  std::filesystem::path folder_;
  Manifest manifest_;
  std::vector<std::string> warnings_;
};

/// The checkpoint that `latest` names, or, where that one is damaged, the newest intact one before
/// it (then after it), with a warning. Nothing if ROOT holds no checkpoint. Throws CheckpointError
/// naming every damage if none is intact.
std::optional<CheckpointReader> open_latest(const std::filesystem::path& root);

/// Copies a checkpoint into another root as a CheckpointWriter writes it. Returns and throws as
/// CheckpointWriter::commit.
std::vector<std::string> copy_checkpoint(const CheckpointReader& from,
                                         const std::filesystem::path& root, int keep,
                                         files::FileLayer& layer = files::real_files());

/// One checkpoint folder. Throws CheckpointError naming what is missing or damaged.
CheckpointReader open_checkpoint(const std::filesystem::path& folder);

}  // namespace scorenet::checkpoint
