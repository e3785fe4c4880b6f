#include "launch/drawn_parts.hpp"

#include <algorithm>
#include <system_error>

#include "framework/checkpoint/digests.hpp"
#include "framework/checkpoint/safetensors.hpp"
#include "framework/core/error.hpp"
#include "framework/files/step_name.hpp"

namespace scorenet::launch {
namespace {

constexpr char kKey[] = "scorenet.draw";
constexpr char kSamples[] = "samples";

}  // namespace

data::Range DrawnParts::range(int64_t part) const {
  return {part * rows_, std::min((part + 1) * rows_, samples_)};
}

std::filesystem::path DrawnParts::path(int64_t part) const {
  return folder_ / ("part-" + files::step_name(part) + ".safetensors");
}

bool DrawnParts::has(int64_t part) const {
  if (!std::filesystem::exists(path(part))) return false;
  try {
    const auto header = checkpoint::read_safetensors_header(path(part));
    checkpoint::verify_header(header, path(part));
    const auto key = header.metadata.find(kKey);
    const auto place = header.places.find(kSamples);
    return key != header.metadata.end() && key->second == key_ && place != header.places.end() &&
           !place->second.shape.empty() && place->second.shape[0] == range(part).size();
  } catch (const CheckpointError&) {  // damaged, or another program's
    return false;
  }
}

void DrawnParts::write(int64_t part, const torch::Tensor& x) const {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) {
    throw CheckpointError(folder_.string() + ": cannot be made (" + error.message() +
                          "). Give an --out where files can be written.");
  }
  const checkpoint::TensorMap tensors = {{kSamples, x}};
  checkpoint::write_safetensors(path(part), tensors,
                                checkpoint::with_digests(tensors, {{kKey, key_}}));
}

torch::Tensor DrawnParts::read(int64_t part) const {
  try {
    return checkpoint::read_safetensors(path(part)).tensors.at(kSamples);
  } catch (const CheckpointError& error) {
    std::filesystem::remove(path(part));
    throw CheckpointError(std::string(error.what()) +
                          " The part is removed: the same command draws it again.");
  }
}

void DrawnParts::remove() const {
  for (int64_t part = 0; part < count(); ++part) std::filesystem::remove(path(part));
  std::error_code not_empty;
  std::filesystem::remove(folder_, not_empty);
}

}  // namespace scorenet::launch
