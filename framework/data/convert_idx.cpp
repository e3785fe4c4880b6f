// IDX, the format of MNIST and its relatives: two zero bytes, a type byte (8: uint8), the number of
// axes, each axis' length as a big-endian 32-bit number, then the values. (Format: LeCun, Cortes,
// Burges, "The MNIST database".)
#include <array>
#include <cstring>
#include <vector>

#include "framework/core/check.hpp"
#include "framework/data/byte_source.hpp"
#include "framework/data/convert.hpp"
#include "framework/data/convert_parts.hpp"
#include "framework/data/md5.hpp"

namespace scorenet::data {
namespace {

struct PublishedFile {
  const char* name;
  const char* fashion_mnist_md5;  // of the decoded file
};

constexpr std::array<PublishedFile, 4> kFiles{{
    {"train-images-idx3-ubyte", "f4a8712d7a061bf5bd6d2ca38dc4d50a"},
    {"train-labels-idx1-ubyte", "9018921c3c673c538a1fc5bad174d6f9"},
    {"t10k-images-idx3-ubyte", "8181f5470baa50b63fa0f6fddb340f0a"},
    {"t10k-labels-idx1-ubyte", "15d484375f8d13e6eb1aabb0c3f46965"},
}};

// train-images-idx3-ubyte, as published, or train-images.idx3-ubyte, as some programs unpack it.
std::filesystem::path find_file(const std::filesystem::path& folder, const std::string& name) {
  std::string dotted = name;
  dotted[dotted.find("-idx")] = '.';
  for (const auto& candidate : {name, name + ".gz", dotted, dotted + ".gz"}) {
    if (std::filesystem::exists(folder / candidate)) return folder / candidate;
  }
  throw DataError((folder / name).string() +
                  ": no such file, with or without .gz. Expected the four IDX files of "
                  "the MNIST family, for example in /usr/share/datasets/fashion-mnist.");
}

int64_t big_endian(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = (value << 8) | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

struct IdxFile {
  std::filesystem::path path;
  torch::Tensor values;  // uint8
  std::string md5;       // of the decoded file
};

// The header's shape; the values it stands for were not read yet.
std::vector<int64_t> parse_shape(const std::string& header, const std::filesystem::path& path,
                                 size_t axes) {
  const std::string expected_start{'\0', '\0', '\x08', static_cast<char>(axes)};
  if (header.size() < 4 + 4 * axes || header.compare(0, 4, expected_start) != 0) {
    throw DataError(path.string() + ": expected an IDX file of unsigned bytes with " +
                    std::to_string(axes) + " axes. Check that it is the file its name says.");
  }
  std::vector<int64_t> shape;
  for (size_t i = 0; i < axes; ++i) shape.push_back(big_endian(header, 4 + 4 * i));
  return shape;
}

[[noreturn]] void fail_size(const ByteSource& source, const std::vector<int64_t>& shape,
                            const std::string& found) {
  throw DataError(source.path().string() + ": header says shape " + shape_string(shape) +
                  ", of bytes found " + found +
                  ". The file is cut short or damaged: fetch it again.");
}

// Bytes of the values. Bounds every product by the file's size, so that none overflows.
int64_t value_bytes(const ByteSource& source, const std::vector<int64_t>& shape, size_t header) {
  const int64_t room = source.most_bytes() - static_cast<int64_t>(header);
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (size == 0) {
      throw DataError(source.path().string() + ": header says shape " + shape_string(shape) +
                      ", expected no axis of length 0. Use files with samples.");
    }
    if (size > room / count) fail_size(source, shape, "at most " + std::to_string(room));
    count *= size;
  }
  return count;
}

// A uint8 array of `axes` axes.
IdxFile read_idx(const std::filesystem::path& path, size_t axes) {
  const size_t header = 4 + 4 * axes;
  ByteSource source(path);
  const auto shape = parse_shape(source.read_string(header), path, axes);
  const auto count = static_cast<size_t>(value_bytes(source, shape, header));
  source.rewind();
  std::string bytes = source.read_string(header + count);
  if (bytes.size() < header + count) {
    fail_size(source, shape, std::to_string(bytes.size() - header));
  }
  if (!source.at_end()) fail_size(source, shape, "more than " + std::to_string(count));
  torch::Tensor values = torch::empty(shape, torch::kUInt8);
  std::memcpy(values.data_ptr(), bytes.data() + header, count);
  return {path, values, md5(bytes)};
}

// Where the files come from, by their content. A copy that is Fashion-MNIST's in part may be
// damaged or a user's own.
std::string source_of(const std::array<IdxFile, 4>& files, Notes& notes) {
  size_t matches = 0;
  for (size_t i = 0; i < kFiles.size(); ++i) matches += files[i].md5 == kFiles[i].fashion_mnist_md5;
  if (matches == kFiles.size()) return "Fashion-MNIST, IDX files with the published MD5";
  if (matches == 0) return "IDX files";
  for (size_t i = 0; i < kFiles.size(); ++i) {
    if (files[i].md5 == kFiles[i].fashion_mnist_md5) continue;
    notes.tell(files[i].path.filename().string() +
               " differs from Fashion-MNIST's, though other files here are the same: its MD5 is " +
               files[i].md5 + ", expected " + kFiles[i].fashion_mnist_md5 +
               "; fetch it again, unless you changed it");
  }
  return "IDX files, " + std::to_string(matches) + " of 4 with the MD5 of Fashion-MNIST";
}

void check_pairs(const torch::Tensor& images, const torch::Tensor& labels,
                 const std::filesystem::path& path) {
  if (images.size(0) == labels.size(0)) return;
  throw DataError(path.string() + ": " + std::to_string(labels.size(0)) + " labels for " +
                  std::to_string(images.size(0)) + " images. Use files that belong together.");
}

}  // namespace

std::vector<std::string> convert_idx(const std::filesystem::path& folder,
                                     const ConvertOptions& options) {
  Notes notes;
  std::array<IdxFile, 4> files;
  for (size_t i = 0; i < kFiles.size(); ++i) {
    files[i] = read_idx(find_file(folder, kFiles[i].name), i % 2 == 0 ? 3 : 1);
  }
  check_pairs(files[0].values, files[1].values, files[1].path);
  check_pairs(files[2].values, files[3].values, files[3].path);
  const auto source = source_of(files, notes);
  const auto sizes = train_sizes(files[0].values.size(0), options, notes);
  DatasetWriter writer(options.out, options.storage, options.overwrite);
  writer.set_attribute("source", source);
  writer.set_attribute("split_rule",
                       split_rule(sizes, kFiles[0].name) + "; test: all of " + kFiles[2].name);
  write_splits(writer, sizes, files[0].values.unsqueeze(1), files[1].values);
  writer.write_split("test", files[2].values.unsqueeze(1), files[3].values);
  writer.commit();
  return notes.lines();
}

}  // namespace scorenet::data
