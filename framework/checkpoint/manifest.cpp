#include "framework/checkpoint/manifest.hpp"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "framework/checkpoint/json_text.hpp"
#include "framework/checkpoint/safetensors.hpp"
#include "framework/core/digest.hpp"
#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::checkpoint {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 1;
constexpr size_t kPieceBytes = size_t{1} << 20;

// Checksum of the bytes [begin, end) of a file.
std::string checksum_of_part(const std::filesystem::path& path, int64_t begin, int64_t end) {
  std::ifstream in(path, std::ios::binary);
  in.seekg(begin);
  std::vector<char> piece(kPieceBytes);
  Digest sum(DigestBits::b64);
  for (int64_t left = end - begin; left > 0;) {
    const auto count = std::min<int64_t>(left, static_cast<int64_t>(piece.size()));
    if (!in.read(piece.data(), count))
      throw CheckpointError(path.string() + ": cannot be read. The disk or the file is damaged.");
    sum.add(piece.data(), static_cast<size_t>(count));
    left -= count;
  }
  return sum.hex();
}

// Which tensor it is, where the file still tells: a message that names it says more than "damaged".
[[noreturn]] void fail_differing(const std::filesystem::path& path, const FileRecord& record) {
  if (!record.tensors.empty()) {
    const auto header = read_safetensors_header(path);  // its own message, should the header be hit
    for (const auto& [name, place] : header.places) {
      const auto expected = record.tensors.find(name);
      if (expected == record.tensors.end() ||
          checksum_of_part(path, place.begin, place.end) != expected->second) {
        throw CheckpointError(path.string() + ": tensor \"" + name +
                              "\" is not what was saved (checksum differs). The file is damaged.");
      }
    }
  }
  throw CheckpointError(path.string() +
                        ": is not what was saved (checksum differs). The file is damaged.");
}

void verify_file(const std::filesystem::path& path, const FileRecord& record) {
  const std::string reason = files::unreadable_because(path);
  if (reason == "no such file")
    throw CheckpointError(path.string() + ": missing, though its manifest lists it.");
  if (!reason.empty())
    throw CheckpointError(path.string() + ": " + reason + ", though its manifest lists it.");
  const int64_t size = files::regular_file_size(path);
  if (size != record.bytes) {
    throw CheckpointError(path.string() + ": " + std::to_string(size) + " bytes, expected " +
                          std::to_string(record.bytes) + ". The file is cut short or damaged.");
  }
  if (checksum_of_part(path, 0, record.bytes) != record.checksum) fail_differing(path, record);
}

}  // namespace

std::string checksum(std::string_view bytes) {
  return digest(bytes.data(), bytes.size(), DigestBits::b64);
}

std::string manifest_text(const Manifest& manifest) {
  Json json{{"format", kFormat}, {"step", manifest.step}, {"files", Json::object()}};
  for (const auto& [name, record] : manifest.files) {
    json["files"][name] = {
        {"bytes", record.bytes}, {"xxh3", record.checksum}, {"tensors", record.tensors}};
  }
  json["checksum"] =
      checksum(json.dump());  // of everything else, in nlohmann's sorted compact form
  return json.dump(1) + "\n";
}

Manifest parse_manifest(const std::string& text, const std::filesystem::path& path) {
  Json json = parse_object(text, path, "its text");
  if (!json.contains("checksum")) {
    throw CheckpointError(path.string() + ": is not a whole manifest. The file is damaged.");
  }
  try {
    const auto expected = json.at("checksum").get<std::string>();
    json.erase("checksum");
    if (checksum(json.dump()) != expected) {
      throw CheckpointError(path.string() +
                            ": is not what was saved (checksum differs). The file is damaged.");
    }
    if (json.at("format") != kFormat) {
      throw CheckpointError(path.string() + ": format " + json.at("format").dump() + ", expected " +
                            std::to_string(kFormat) + ". Use the program that wrote it.");
    }
    Manifest manifest{json.at("step").get<int64_t>(), {}};
    for (const auto& [name, entry] : json.at("files").items()) {
      if (std::filesystem::path(name).filename() != name) {
        throw CheckpointError(path.string() + ": lists \"" + name +
                              "\", which is no name of a file in its folder. The file is damaged.");
      }
      manifest.files[name] = {entry.at("bytes").get<int64_t>(), entry.at("xxh3").get<std::string>(),
                              entry.at("tensors").get<std::map<std::string, std::string>>()};
    }
    return manifest;
  } catch (const Json::exception& error) {
    throw CheckpointError(path.string() + ": is not a whole manifest (" + error.what() +
                          "). The file is damaged.");
  }
}

Manifest verify_folder(const std::filesystem::path& folder) {
  const auto path = folder / kManifestName;
  constexpr int64_t kLargestManifest = 100'000'000;
  std::string text;
  try {
    if (files::regular_file_size(path) > kLargestManifest)
      throw CheckpointError(path.string() + ": too large for a manifest. The file is damaged.");
    text = files::read_file(path);
  } catch (const files::FileError& error) {
    throw CheckpointError(error.what());
  }
  Manifest manifest = parse_manifest(text, path);
  for (const auto& [name, record] : manifest.files) verify_file(folder / name, record);
  return manifest;
}

}  // namespace scorenet::checkpoint
