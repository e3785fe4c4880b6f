// The manifest of a checkpoint. Its checksum would keep every change out, so each input is also
// read with one that fits.
#include "framework/checkpoint/manifest.hpp"

#include <nlohmann/json.hpp>

#include "tests/fuzz/target_support.hpp"
#include "tests/fuzz/targets.hpp"

namespace scorenet::fuzz {
namespace {

bool parse(const std::string& text) {
  checkpoint::Manifest manifest;
  if (!takes<CheckpointError>(
          [&] { manifest = checkpoint::parse_manifest(text, "manifest.json"); }))
    return false;
  const std::string written = checkpoint::manifest_text(manifest);
  const auto again = checkpoint::parse_manifest(written, "manifest.json");
  demand(checkpoint::manifest_text(again) == written, "the manifest changed when written again");
  return true;
}

// nlohmann recurses: a text nested deep is for the reader's own limit alone.
bool is_shallow(std::string_view text) {
  constexpr int kDeepest = 100;
  int depth = 0;
  for (const char c : text) {
    depth += c == '[' || c == '{';
    if (depth > kDeepest) return false;
  }
  return true;
}

}  // namespace

bool manifest(std::string_view bytes) {
  const bool taken = parse(std::string(bytes));
  if (!is_shallow(bytes)) return taken;
  auto json = nlohmann::json::parse(bytes, nullptr, false);
  if (!json.is_object()) return taken;
  json.erase("checksum");
  json["checksum"] = checkpoint::checksum(json.dump());
  return parse(json.dump()) || taken;
}

}  // namespace scorenet::fuzz
