#include "framework/checkpoint/digests.hpp"

#include "framework/checkpoint/json_text.hpp"
#include "framework/core/digest.hpp"
#include "framework/core/error.hpp"
#include "framework/core/tensor_digest.hpp"

namespace scorenet::checkpoint {
namespace {

constexpr const char* kTensors = "scorenet.tensor_digests";
constexpr const char* kAll = "scorenet.digest";

// A text with its length before it: two lists of texts that differ have different sums.
void add(std::string& all, const std::string& text) {
  all += std::to_string(text.size()) + ":" + text;
}

void add_tensor(std::string& all, const std::string& name, torch::Dtype dtype,
                c10::IntArrayRef shape) {
  add(all, name);
  add(all, c10::toString(dtype));
  for (const int64_t size : shape) add(all, std::to_string(size));
  all += ";";
}

std::string texts_of(const Metadata& metadata) {
  std::string all;
  for (const auto& [key, value] : metadata) {
    if (key == kAll) continue;
    add(all, key);
    add(all, value);
  }
  return all + "|";
}

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw CheckpointError(path.string() + ": " + what +
                        ". The file is damaged. Copy it again, or take another snapshot.");
}

}  // namespace

Metadata with_digests(const TensorMap& tensors, const Metadata& metadata) {
  Metadata all = metadata;
  nlohmann::json digests = nlohmann::json::object();
  for (const auto& [name, tensor] : tensors) digests[name] = digest_of(tensor);
  all[kTensors] = digests.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string header = texts_of(all);
  for (const auto& [name, tensor] : tensors)
    add_tensor(header, name, tensor.scalar_type(), tensor.sizes());
  all[kAll] = digest(header.data(), header.size());
  return all;
}

bool has_digests(const Metadata& metadata) {
  return metadata.count(kTensors) > 0 || metadata.count(kAll) > 0;
}

void verify_header(const SafetensorsHeader& header, const std::filesystem::path& path) {
  if (!has_digests(header.metadata)) return;
  for (const char* key : {kTensors, kAll})
    if (header.metadata.count(key) == 0) fail(path, std::string("its metadata has lost ") + key);
  std::string text = texts_of(header.metadata);
  for (const auto& [name, place] : header.places) add_tensor(text, name, place.dtype, place.shape);
  if (digest(text.data(), text.size()) != header.metadata.at(kAll))
    fail(path, "its header is not what was saved (digest differs)");
}

void verify_tensors(const Safetensors& file, const std::filesystem::path& path) {
  if (!has_digests(file.metadata)) return;
  const auto digests = parse_object(file.metadata.at(kTensors), path, kTensors);
  for (const auto& [name, tensor] : file.tensors) {
    const auto expected = digests.find(name);
    if (expected == digests.end() || *expected != digest_of(tensor))
      fail(path, "tensor \"" + name + "\" is not what was saved (digest differs)");
  }
}

}  // namespace scorenet::checkpoint
