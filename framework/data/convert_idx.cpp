// IDX, the format of MNIST and its relatives: two zero bytes, a type byte (8: uint8), the number of axes, each axis'
// length as a big-endian 32-bit number, then the values. (Format: LeCun, Cortes, Burges, "The MNIST database".)
#include <array>
#include <cstring>
#include <vector>

#include "framework/core/check.hpp"
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

std::filesystem::path find_file(const std::filesystem::path& folder, const std::string& name) {
  for (const auto& candidate : {folder / name, folder / (name + ".gz")}) {
    if (std::filesystem::exists(candidate)) return candidate;
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

// A uint8 array of `axes` axes.
torch::Tensor parse_idx(const std::string& bytes, const std::filesystem::path& path, size_t axes) {
  const size_t header = 4 + 4 * axes;
  const std::string expected_start{'\0', '\0', '\x08', static_cast<char>(axes)};
  if (bytes.size() < header || bytes.compare(0, 4, expected_start) != 0) {
    throw DataError(path.string() + ": expected an IDX file of unsigned bytes with " +
                    std::to_string(axes) + " axes. Check that it is the file its name says.");
  }
  std::vector<int64_t> shape;
  int64_t count = 1;
  for (size_t i = 0; i < axes; ++i) {
    shape.push_back(big_endian(bytes, 4 + 4 * i));
    count *= shape.back();
  }
  if (static_cast<int64_t>(bytes.size() - header) != count) {
    throw DataError(path.string() + ": header says shape " + shape_string(shape) + ", " +
                    std::to_string(count) + " bytes, found " +
                    std::to_string(bytes.size() - header) +
                    ". The file is cut short or damaged: fetch it again.");
  }
  torch::Tensor values = torch::empty(shape, torch::kUInt8);
  std::memcpy(values.data_ptr(), bytes.data() + header, static_cast<size_t>(count));
  return values;
}

// True if all four are Fashion-MNIST's; throws if only some are.
bool check_fashion_mnist(const std::array<std::filesystem::path, 4>& paths,
                         const std::array<std::string, 4>& bytes, bool named_so) {
  size_t matches = 0, differs = 0;
  std::array<std::string, 4> found;
  for (size_t i = 0; i < kFiles.size(); ++i) {
    found[i] = md5(bytes[i]);
    if (found[i] == kFiles[i].fashion_mnist_md5)
      ++matches;
    else
      differs = i;
  }
  if (matches == kFiles.size()) return true;
  if (matches == 0 && !named_so) return false;
  throw DataError(paths[differs].string() + ": MD5 of the decoded file is " + found[differs] +
                  ", expected " + kFiles[differs].fashion_mnist_md5 +
                  " for Fashion-MNIST. Fetch the file again (Debian: "
                  "apt-get install --reinstall dataset-fashion-mnist).");
}

void check_pairs(const torch::Tensor& images, const torch::Tensor& labels,
                 const std::filesystem::path& path) {
  if (images.size(0) == labels.size(0)) return;
  throw DataError(path.string() + ": " + std::to_string(labels.size(0)) + " labels for " +
                  std::to_string(images.size(0)) + " images. Use files that belong together.");
}

}  // namespace

void convert_idx(const std::filesystem::path& folder, const ConvertOptions& options) {
  std::array<std::filesystem::path, 4> paths;
  std::array<std::string, 4> bytes;
  for (size_t i = 0; i < kFiles.size(); ++i) {
    paths[i] = find_file(folder, kFiles[i].name);
    bytes[i] = read_maybe_gzip(paths[i]);
  }
  const auto train_images = parse_idx(bytes[0], paths[0], 3).unsqueeze(1);
  const auto train_labels = parse_idx(bytes[1], paths[1], 1);
  const auto test_images = parse_idx(bytes[2], paths[2], 3).unsqueeze(1);
  const auto test_labels = parse_idx(bytes[3], paths[3], 1);
  check_pairs(train_images, train_labels, paths[1]);
  check_pairs(test_images, test_labels, paths[3]);
  const bool named_so = folder.string().find("fashion-mnist") != std::string::npos;
  const bool fashion_mnist = check_fashion_mnist(paths, bytes, named_so);

  const auto sizes =
      split_sizes(train_images.size(0), options.validation.value_or(kUsualValidation), 0);
  DatasetWriter writer(options.out, options.storage, options.overwrite);
  writer.set_attribute(
      "source", fashion_mnist ? "Fashion-MNIST, IDX files with the published MD5" : "IDX files");
  writer.set_attribute("split_rule",
                       split_rule(sizes, kFiles[0].name) + "; test: all of " + kFiles[2].name);
  write_splits(writer, sizes, train_images, train_labels);
  writer.write_split("test", test_images, test_labels);
  writer.commit();
}

}  // namespace scorenet::data
