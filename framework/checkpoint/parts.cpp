#include "framework/checkpoint/parts.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "framework/core/digest.hpp"
#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"

namespace scorenet::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".safetensors";

std::string stem_of(const std::string& file) {
  return file.substr(0, file.size() - kEnding.size());
}

fs::path record_path(const fs::path& folder, const std::string& part) {
  return folder / (part + ".record");
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : ",") + std::to_string(size);
  return text;
}

// "64,3,3": empty for a shape of no dimension. Nothing for any other text.
bool parse_numbers(std::string_view text, std::vector<int64_t>& numbers) {
  while (!text.empty()) {
    int64_t number = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
    if (read.ec != std::errc() || number < 0) return false;
    numbers.push_back(number);
    text.remove_prefix(static_cast<size_t>(read.ptr - text.data()));
    if (text.empty()) return true;
    if (text.front() != ',') return false;
    text.remove_prefix(1);
  }
  return true;
}

[[noreturn]] void fail(const fs::path& path, const std::string& tensor, const std::string& what) {
  throw CheckpointError(path.string() + ", tensor \"" + tensor + "\": " + what +
                        ". The checkpoint's parts are damaged.");
}

struct Piece {
  int64_t begin = 0;
  torch::Tensor values;
};

torch::Tensor joined(std::vector<Piece> pieces, const std::vector<int64_t>& shape,
                     const std::string& name, const fs::path& path) {
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
  int64_t end = 0;
  std::vector<torch::Tensor> values;
  for (const Piece& piece : pieces) {
    if (piece.begin != end || piece.values.dim() != 1)
      fail(path, name,
           "a piece begins at element " + std::to_string(piece.begin) + ", expected " +
               std::to_string(end));
    end += piece.values.numel();
    values.push_back(piece.values);
  }
  const torch::Tensor flat = torch::cat(values);
  int64_t count = 1;
  for (const int64_t size : shape) count = size > end ? end + 1 : count * size;
  if (count != end) fail(path, name, std::to_string(end) + " elements do not fill its shape");
  return flat.view(shape);
}

}  // namespace

std::string part_name(const std::string& file, int rank, int size) {
  char text[48];
  std::snprintf(text, sizeof text, ".part-%04d-of-%04d", rank, size);
  return stem_of(file) + text + std::string(kEnding);
}

bool is_part_of(const std::string& name, const std::string& file) {
  return name.starts_with(stem_of(file) + ".part-") && name.ends_with(kEnding);
}

void write_part(const fs::path& folder, const std::string& part,
                const std::vector<TensorPiece>& pieces, files::FileLayer& layer) {
  TensorMap tensors;
  Metadata shapes;
  FileRecord record;
  for (const TensorPiece& piece : pieces) {
    const std::string name = piece.name + "@" + std::to_string(piece.begin);
    tensors[name] = piece.values;
    shapes[piece.name] = shape_text(piece.shape);
    record.tensors[name] =
        checksum({static_cast<const char*>(piece.values.data_ptr()), piece.values.nbytes()});
  }
  try {
    files::OutputFile out(folder / part, layer);
    Digest sum(DigestBits::b64);
    serialise_safetensors(folder / part, tensors, shapes, [&](std::string_view bytes) {
      sum.add(bytes.data(), bytes.size());
      out.write(bytes);
      record.bytes += static_cast<int64_t>(bytes.size());
    });
    out.sync_and_close();
    record.checksum = sum.hex();
    files::write_file_atomically(record_path(folder, part),
                                 manifest_text({0, {{part, std::move(record)}}}), layer);
  } catch (const files::FileError& error) {
    throw CheckpointError(error.what());
  }
}

FileRecord take_record(const fs::path& folder, const std::string& part) {
  const fs::path path = record_path(folder, part);
  try {
    const Manifest manifest = parse_manifest(files::read_file(path), path);
    std::error_code ignored;
    fs::remove(path, ignored);
    const auto found = manifest.files.find(part);
    if (found != manifest.files.end()) return found->second;
  } catch (const files::FileError& error) {
    throw CheckpointError(error.what());
  }
  throw CheckpointError(path.string() + ": is not the record of its part. Save again.");
}

TensorMap join_parts(const std::vector<Safetensors>& parts, const fs::path& path) {
  std::map<std::string, std::vector<Piece>> pieces;
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const Safetensors& part : parts) {
    for (const auto& [name, text] : part.metadata) {
      std::vector<int64_t> shape;
      if (!parse_numbers(text, shape)) fail(path, name, "its shape is \"" + text + "\"");
      shapes[name] = shape;
    }
    for (const auto& [key, values] : part.tensors) {
      const size_t mark = key.rfind('@');
      std::vector<int64_t> begin;
      if (mark == std::string::npos ||
          !parse_numbers(std::string_view(key).substr(mark + 1), begin) || begin.size() != 1 ||
          !shapes.contains(key.substr(0, mark)))
        fail(path, key, "is no piece of a tensor with a shape");
      pieces[key.substr(0, mark)].push_back({begin[0], values});
    }
  }
  TensorMap whole;
  for (auto& [name, of] : pieces) whole[name] = joined(std::move(of), shapes.at(name), name, path);
  return whole;
}

}  // namespace scorenet::checkpoint
