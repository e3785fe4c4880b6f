#include "framework/checkpoint/checkpoint_store.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "framework/checkpoint/parts.hpp"
#include "framework/core/digest.hpp"
#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/regular_file.hpp"
#include "framework/files/temporaries.hpp"

namespace scorenet::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLatest = "latest";

// The files layer knows no checkpoints; here its failures get their type.
template <typename Work>
auto as_checkpoint_error(const Work& work) {
  try {
    return work();
  } catch (const files::FileError& error) {
    throw CheckpointError(error.what());
  }
}

bool is_step_name(const std::string& name) {
  // 18 digits at most: such a number fits int64.
  return !name.empty() && name.size() <= 18 &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Step folders, newest first. Numeric order: names grow a digit after step 9,999,999.
std::vector<fs::path> step_folders(const fs::path& root) {
  std::vector<fs::path> folders;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(root, missing)) {
    if (entry.is_directory() && is_step_name(entry.path().filename().string()))
      folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end(), [](const fs::path& a, const fs::path& b) {
    return std::stoll(a.filename().string()) > std::stoll(b.filename().string());
  });
  return folders;
}

// One process writes here, and writes one checkpoint at a time.
void remove_temporaries(const fs::path& root) {
  files::remove_dead_temporaries(root, {.own_too = true, .foreign_age = std::chrono::seconds(0)});
}

std::string name_in_latest(const fs::path& root) {
  std::error_code missing;
  if (!fs::exists(fs::symlink_status(root / kLatest, missing))) return "";
  constexpr int64_t kLongest = 4096;
  as_checkpoint_error([&] {
    if (files::regular_file_size(root / kLatest) > kLongest)
      throw files::FileError((root / kLatest).string() + ": too long for the name of a step.");
  });
  std::string name = as_checkpoint_error([&] { return files::read_file(root / kLatest); });
  while (!name.empty() && std::isspace(static_cast<unsigned char>(name.back()))) name.pop_back();
  return is_step_name(name) ? name : "";
}

// Only a run that went back in time meets its own step again. Between the two renames this step has
// no checkpoint; the one before it is whole.
void replace_folder(const fs::path& temporary, const fs::path& target, files::FileLayer& layer) {
  if (!fs::exists(target)) return files::publish(temporary, target, layer);
  const auto aside = files::temporary_sibling(target);
  try {
    files::publish(target, aside, layer);
    files::publish(temporary, target, layer);
  } catch (const files::FileError&) {
    std::error_code ignored;
    fs::rename(aside, target, ignored);  // fails, as it should, if the new one did arrive
    throw;
  }
}

}  // namespace

CheckpointWriter::CheckpointWriter(const fs::path& root, int64_t step, files::FileLayer& layer)
    : root_(root), target_(root / step_name(step)), layer_(layer), manifest_{step, {}} {
  std::error_code reason;
  fs::create_directories(root_, reason);
  if (reason) {
    throw CheckpointError(root_.string() + ": the folder cannot be made (" + reason.message() +
                          "). Choose a folder that can be written.");
  }
  remove_temporaries(root_);
  temporary_ = files::temporary_sibling(target_);
  if (layer_.make_folder(temporary_) != 0) {
    throw CheckpointError(temporary_.string() + ": the folder cannot be made (" +
                          std::strerror(errno) + "). Check the free space and the permissions.");
  }
}

CheckpointWriter::~CheckpointWriter() {
  if (committed_) return;
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
}

void CheckpointWriter::require_new(const std::string& file) const {
  if (manifest_.files.count(file) || file == kManifestName || fs::path(file).filename() != file) {
    throw CheckpointError(target_.string() + ": \"" + file +
                          "\" is not a new, plain file name in this checkpoint.");
  }
}

void CheckpointWriter::take_up(const std::string& file, FileRecord record) {
  require_new(file);
  manifest_.files[file] = std::move(record);
}

template <typename Write>
void CheckpointWriter::write_file(const std::string& file, FileRecord record, const Write& write) {
  require_new(file);
  as_checkpoint_error([&] {
    files::OutputFile out(temporary_ / file, layer_);
    Digest sum(DigestBits::b64);
    write([&](std::string_view bytes) {
      sum.add(bytes.data(), bytes.size());
      out.write(bytes);
      record.bytes += static_cast<int64_t>(bytes.size());
    });
    out.sync_and_close();
    record.checksum = sum.hex();
  });
  manifest_.files[file] = std::move(record);
}

void CheckpointWriter::write_tensors(const std::string& file, const TensorMap& tensors,
                                     const Metadata& metadata) {
  FileRecord record;
  TensorMap on_host;
  for (const auto& [name, tensor] : tensors) {
    const auto values = tensor.detach().cpu().contiguous();
    on_host[name] = values;
    record.tensors[name] = checksum({static_cast<const char*>(values.data_ptr()), values.nbytes()});
  }
  write_file(file, std::move(record), [&](const auto& sink) {
    serialise_safetensors(target_ / file, on_host, metadata, sink);
  });
}

void CheckpointWriter::write_text(const std::string& file, std::string_view text) {
  write_file(file, {}, [&](const auto& sink) { sink(text); });
}

// What the copy became is compared with the original's checksum at commit().
void CheckpointWriter::copy_file(const fs::path& from, const FileRecord& record) {
  const std::string file = from.filename().string();
  write_file(file, {0, "", record.tensors}, [&](const auto& sink) {
    std::ifstream in(from, std::ios::binary);
    std::vector<char> piece(size_t{1} << 20);
    while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())) || in.gcount() > 0)
      sink({piece.data(), static_cast<size_t>(in.gcount())});
    if (!in.eof())
      throw CheckpointError(from.string() + ": cannot be read. The disk or the file is damaged.");
  });
  manifest_.files[file] = record;
}

std::vector<std::string> CheckpointWriter::commit(int keep) {
  as_checkpoint_error([&] {
    files::OutputFile manifest(temporary_ / kManifestName, layer_);
    manifest.write(manifest_text(manifest_));
    manifest.sync_and_close();
    if (layer_.sync_folder(temporary_) != 0) {
      throw files::FileError(temporary_.string() +
                             ": cannot be synced to the disk: " + std::strerror(errno) + ".");
    }
    verify_folder(temporary_);
    replace_folder(temporary_, target_, layer_);
    committed_ = true;
    files::write_file_atomically(root_ / kLatest, target_.filename().string() + "\n", layer_);
  });
  return remove_older(keep);
}

std::vector<std::string> CheckpointWriter::remove_older(int keep) {
  std::vector<std::string> problems;
  int newer = 0;
  for (const auto& folder : step_folders(root_)) {
    // Steps after this one belong to a future that was given up; they are replaced when
    // they come again.
    if (std::stoll(folder.filename().string()) > manifest_.step || ++newer <= std::max(1, keep))
      continue;
    // Renamed first: a removal that is cut short must not look like a damaged checkpoint.
    const auto doomed = files::temporary_sibling(folder);
    if (layer_.rename(folder, doomed) != 0) {
      problems.push_back(folder.string() + ": cannot be removed (" + std::strerror(errno) +
                         "). Remove it by hand if the disk fills.");
    }
  }
  remove_temporaries(root_);
  return problems;
}

bool CheckpointReader::has(const std::string& file) const {
  return std::any_of(manifest_.files.begin(), manifest_.files.end(), [&](const auto& entry) {
    return entry.first == file || is_part_of(entry.first, file);
  });
}

fs::path CheckpointReader::path_of(const std::string& file) const {
  if (manifest_.files.contains(file)) return folder_ / file;
  throw CheckpointError((folder_ / file).string() +
                        ": the checkpoint has no such file. It was written by another "
                        "version or another kind of run.");
}

Safetensors CheckpointReader::tensors(const std::string& file) const {
  std::vector<Safetensors> parts;
  for (const auto& [name, record] : manifest_.files)
    if (is_part_of(name, file)) parts.push_back(read_safetensors(folder_ / name));
  if (parts.empty()) return read_safetensors(path_of(file));
  Safetensors whole{join_parts(parts, folder_ / file), {}};
  if (manifest_.files.contains(file)) whole.tensors.merge(read_safetensors(folder_ / file).tensors);
  return whole;
}

std::vector<std::string> copy_checkpoint(const CheckpointReader& from, const fs::path& root,
                                         int keep, files::FileLayer& layer) {
  CheckpointWriter writer(root, from.step(), layer);
  for (const auto& [file, record] : from.manifest().files)
    writer.copy_file(from.folder() / file, record);
  return writer.commit(keep);
}

std::string CheckpointReader::text(const std::string& file) const {
  return as_checkpoint_error([&] { return files::read_file(path_of(file)); });
}

CheckpointReader open_checkpoint(const fs::path& folder) {
  auto manifest = verify_folder(folder);
  const auto name = folder.filename().string();
  if (is_step_name(name) && std::stoll(name) != manifest.step) {
    throw CheckpointError(
        folder.string() + ": its manifest says step " + std::to_string(manifest.step) +
        ". The folder was renamed, or holds another step's files. Restore its name.");
  }
  return {folder, std::move(manifest), {}};
}

std::optional<CheckpointReader> open_latest(const fs::path& root) {
  auto candidates = step_folders(root);
  const std::string latest = name_in_latest(root);
  if (candidates.empty() && latest.empty()) return std::nullopt;
  std::vector<std::string> warnings;
  if (!latest.empty()) {
    if (!fs::exists(root / latest)) {
      warnings.push_back((root / latest).string() + ": missing, though " + kLatest + " names it.");
    }
    // What `latest` names and those before it, newest first; then those after it.
    std::stable_partition(candidates.begin(), candidates.end(), [&](const fs::path& folder) {
      return std::stoll(folder.filename().string()) <= std::stoll(latest);
    });
  }
  for (const auto& folder : candidates) {
    try {
      const auto found = open_checkpoint(folder);
      for (auto& warning : warnings) warning += " Using step " + std::to_string(found.step()) + ".";
      return CheckpointReader(folder, found.manifest(), std::move(warnings));
    } catch (const CheckpointError& error) {
      warnings.emplace_back(error.what());
    }
  }
  std::string sentence = root.string() + ": no checkpoint is intact.";
  for (const auto& warning : warnings) sentence += " " + warning;
  throw CheckpointError(sentence + " Restore one from a backup, or start in another folder.");
}

}  // namespace scorenet::checkpoint
