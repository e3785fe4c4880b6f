#include "framework/checkpoint/safetensors.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "framework/checkpoint/digests.hpp"
#include "framework/checkpoint/json_text.hpp"
#include "framework/core/check.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little,
              "tensors are written as they lie in memory");

using Json = nlohmann::ordered_json;

constexpr int64_t kAlignment = 64;
constexpr int64_t kLargestHeader = 100'000'000;  // the format's own limit
constexpr const char* kMetadataKey = "__metadata__";

struct TypeName {
  const char* name;
  torch::Dtype dtype;
};
constexpr std::array<TypeName, 10> kTypes{{{"F64", torch::kFloat64},
                                           {"F32", torch::kFloat32},
                                           {"F16", torch::kFloat16},
                                           {"BF16", torch::kBFloat16},
                                           {"I64", torch::kInt64},
                                           {"I32", torch::kInt32},
                                           {"I16", torch::kInt16},
                                           {"I8", torch::kInt8},
                                           {"U8", torch::kUInt8},
                                           {"BOOL", torch::kBool}}};

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw CheckpointError(path.string() + ": " + what);
}

[[noreturn]] void fail_tensor(const std::filesystem::path& path, const std::string& tensor,
                              const std::string& what) {
  fail(path, "tensor \"" + tensor + "\": " + what);
}

std::string name_of(torch::Dtype dtype, const std::filesystem::path& path,
                    const std::string& tensor) {
  for (const auto& type : kTypes) {
    if (type.dtype == dtype) return type.name;
  }
  fail_tensor(path, tensor,
              std::string("type ") + c10::toString(dtype) +
                  " has no name in safetensors. Convert it first.");
}

// Wider elements first, then by name: with an aligned start, every tensor is aligned
// to its element.
std::vector<std::string> storage_order(const TensorMap& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  std::stable_sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return tensors.at(a).element_size() > tensors.at(b).element_size();
  });
  return names;
}

std::string header_text(const std::filesystem::path& path, const TensorMap& tensors,
                        const Metadata& metadata, const std::vector<std::string>& order) {
  Json header = Json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  size_t begin = 0;
  for (const auto& name : order) {
    const auto& tensor = tensors.at(name);
    if (name == kMetadataKey)
      fail_tensor(path, name, "the format reserves this name. Rename the tensor.");
    header[name] = {{"dtype", name_of(tensor.scalar_type(), path, name)},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {begin, begin + tensor.nbytes()}}};
    begin += tensor.nbytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception& error) {
    fail(path, std::string("a name or a text is not UTF-8 (") + error.what() + "). Rename it.");
  }
  text.resize((text.size() + 8 + kAlignment - 1) / kAlignment * kAlignment - 8, ' ');
  return text;
}

std::string length_bytes(uint64_t length) {
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>((length >> shift) & 0xff);
  return bytes;
}

// Everything below reads what anyone may have written.

// Also where a size is 0 the others must have a product: LibTorch multiplies them to strides.
int64_t element_count(const std::vector<int64_t>& shape, const std::filesystem::path& path,
                      const std::string& name) {
  constexpr size_t kMostDimensions = 64;
  int64_t span = 1;
  bool impossible = shape.size() > kMostDimensions;
  for (const int64_t size : shape) {
    const int64_t factor = std::max<int64_t>(size, 1);
    if (impossible || size < 0 || span > std::numeric_limits<int64_t>::max() / 16 / factor) {
      fail_tensor(path, name,
                  "impossible shape " +
                      (impossible ? "of " + std::to_string(shape.size()) + " dimensions"
                                  : shape_string(shape)) +
                      ". The file is damaged.");
    }
    span *= factor;
  }
  return std::count(shape.begin(), shape.end(), 0) > 0 ? 0 : span;
}

// Only whole numbers: JSON's reals, booleans and texts would be turned into some.
std::vector<int64_t> whole_numbers(const nlohmann::json& list) {
  std::vector<int64_t> numbers;
  for (const auto& number : list.get<std::vector<nlohmann::json>>()) {
    constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    const bool fits = number.is_number_unsigned() ? number.get<uint64_t>() <= kLargest
                                                  : number.is_number_integer();
    if (!fits) throw std::domain_error("not whole");
    numbers.push_back(number.get<int64_t>());
  }
  return numbers;
}

TensorPlace parse_place(const nlohmann::json& entry, const std::filesystem::path& path,
                        const std::string& name, int64_t data_at, int64_t file_size) {
  TensorPlace place;
  std::string dtype;
  std::vector<int64_t> offsets;
  try {
    dtype = entry.at("dtype").get<std::string>();
    place.shape = whole_numbers(entry.at("shape"));
    offsets = whole_numbers(entry.at("data_offsets"));
  } catch (const std::exception&) {
    fail_tensor(path, name,
                "its header entry is not {dtype, shape, data_offsets}. The file is damaged.");
  }
  const auto type = std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& candidate) {
    return dtype == candidate.name;
  });
  if (type == kTypes.end())
    fail_tensor(path, name,
                "type \"" + dtype + "\" is none that this program reads. Store it as float32.");
  place.dtype = type->dtype;
  const int64_t bytes =
      element_count(place.shape, path, name) * static_cast<int64_t>(c10::elementSize(place.dtype));
  if (offsets.size() != 2 || offsets[0] < 0 || offsets[1] < offsets[0] ||
      offsets[1] - offsets[0] != bytes) {
    fail_tensor(path, name,
                dtype + " of shape " + shape_string(place.shape) + " needs " +
                    std::to_string(bytes) +
                    " bytes, but its offsets do not span them. The file is damaged.");
  }
  if (offsets[1] > file_size - data_at) {
    fail_tensor(path, name,
                "its bytes end at " + std::to_string(offsets[1]) + " of the data, which has " +
                    std::to_string(file_size - data_at) + ". The file is cut short.");
  }
  place.begin = data_at + offsets[0];
  place.end = data_at + offsets[1];
  return place;
}

// The format allows neither holes nor overlaps, and the last tensor ends the file.
void check_places(const std::map<std::string, TensorPlace>& places, int64_t data_at,
                  int64_t file_size, const std::filesystem::path& path) {
  std::vector<std::pair<int64_t, std::string>> by_begin;
  for (const auto& [name, place] : places) by_begin.emplace_back(place.end, name);
  std::sort(by_begin.begin(), by_begin.end(), [&](const auto& a, const auto& b) {
    return std::pair(places.at(a.second).begin, a.first) <
           std::pair(places.at(b.second).begin, b.first);
  });
  int64_t end = data_at;
  for (const auto& [place_end, name] : by_begin) {
    if (places.at(name).begin != end) {
      fail_tensor(path, name,
                  "its bytes begin at " + std::to_string(places.at(name).begin) + ", expected " +
                      std::to_string(end) + ". The file is damaged.");
    }
    end = place_end;
  }
  if (end != file_size) {
    fail(path,
         std::to_string(file_size - end) + " bytes belong to no tensor. The file is damaged.");
  }
}

struct OpenFile {
  std::ifstream stream;
  int64_t size = 0;
};

OpenFile open_file(const std::filesystem::path& path) {
  OpenFile file;
  try {
    file.size = files::regular_file_size(path);
  } catch (const files::FileError& error) {
    throw CheckpointError(error.what());
  }
  file.stream.open(path, std::ios::binary);
  if (!file.stream) fail(path, "cannot be opened. Check the path.");
  return file;
}

void read_exactly(OpenFile& file, char* out, int64_t count, const std::filesystem::path& path,
                  const std::string& what) {
  if (count > 0 && !file.stream.read(out, count))
    fail(path, what + " cannot be read. The disk or the file is damaged.");
}

nlohmann::json read_header_json(OpenFile& file, const std::filesystem::path& path,
                                int64_t& data_at) {
  std::array<unsigned char, 8> length_text{};
  uint64_t length = 0;
  if (file.size >= 8) {
    read_exactly(file, reinterpret_cast<char*>(length_text.data()), 8, path, "the header's length");
    for (size_t i = 8; i-- > 0;) length = (length << 8) | length_text[i];
  }
  if (file.size < 8 || length < 2 || length > kLargestHeader ||
      static_cast<int64_t>(length) > file.size - 8) {
    fail(path, std::to_string(file.size) + " bytes with a header of " + std::to_string(length) +
                   ": not a whole safetensors file. It is cut short, damaged or of another kind.");
  }
  std::string text(length, '\0');
  read_exactly(file, text.data(), static_cast<int64_t>(length), path, "the header");
  data_at = 8 + static_cast<int64_t>(length);
  return parse_object(text, path, "its header");
}

SafetensorsHeader read_header(OpenFile& file, const std::filesystem::path& path) {
  int64_t data_at = 0;
  const nlohmann::json json = read_header_json(file, path, data_at);
  SafetensorsHeader header;
  for (const auto& [name, entry] : json.items()) {
    if (name != kMetadataKey) {
      header.places[name] = parse_place(entry, path, name, data_at, file.size);
      continue;
    }
    try {
      header.metadata = entry.get<Metadata>();
    } catch (const Json::exception&) {
      fail(path, "its __metadata__ is not a map of strings. The file is damaged.");
    }
  }
  check_places(header.places, data_at, file.size, path);
  verify_header(header, path);
  return header;
}

}  // namespace

void serialise_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                           const Metadata& metadata,
                           const std::function<void(std::string_view)>& sink) {
  const auto order = storage_order(tensors);
  const std::string header = header_text(path, tensors, metadata, order);
  sink(length_bytes(header.size()));
  sink(header);
  for (const auto& name : order) {
    const torch::Tensor values = tensors.at(name).detach().cpu().contiguous();
    if (values.nbytes() > 0) sink({static_cast<const char*>(values.data_ptr()), values.nbytes()});
  }
}

void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const Metadata& metadata, files::FileLayer& layer) {
  try {
    files::AtomicFile file(path, layer);
    serialise_safetensors(path, tensors, metadata,
                          [&](std::string_view bytes) { file.write(bytes); });
    file.commit();
  } catch (const files::FileError& error) {
    throw CheckpointError(error.what());
  }
}

Safetensors read_safetensors(const std::filesystem::path& path) {
  OpenFile file = open_file(path);
  SafetensorsHeader header = read_header(file, path);
  Safetensors result{{}, std::move(header.metadata)};
  for (const auto& [name, place] : header.places) {
    torch::Tensor values = torch::empty(place.shape, place.dtype);
    file.stream.seekg(place.begin);
    read_exactly(file, static_cast<char*>(values.data_ptr()), place.end - place.begin, path,
                 "tensor \"" + name + "\"");
    result.tensors[name] = values;
  }
  verify_tensors(result, path);
  return result;
}

SafetensorsHeader read_safetensors_header(const std::filesystem::path& path) {
  OpenFile file = open_file(path);
  return read_header(file, path);
}

}  // namespace scorenet::checkpoint
