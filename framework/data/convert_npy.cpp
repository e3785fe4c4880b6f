// NumPy's .npy: "\x93NUMPY", two version bytes, the header's length, a Python dictionary as text, then the values.
// (Format: numpy.lib.format, versions 1.0 to 3.0.)
#include <cstring>
#include <regex>
#include <vector>

#include "framework/core/check.hpp"
#include "framework/data/convert.hpp"
#include "framework/data/convert_parts.hpp"

namespace scorenet::data {
namespace {

struct NpyHeader {
  std::string type;  // "|u1", "<f4"
  std::vector<int64_t> shape;
  size_t values_at = 0;
};

std::string field(const std::string& header, const std::string& pattern,
                  const std::filesystem::path& path) {
  std::smatch match;
  if (std::regex_search(header, match, std::regex(pattern))) return match[1];
  throw DataError(path.string() + ": its header is not one NumPy writes: " + header.substr(0, 80) +
                  ". Save it again with numpy.save.");
}

NpyHeader parse_header(const std::string& bytes, const std::filesystem::path& path) {
  const bool is_npy = bytes.size() >= 12 && bytes.compare(0, 6, "\x93NUMPY") == 0;
  const size_t length_bytes = is_npy && bytes[6] == 1 ? 2 : 4;
  size_t length = 0;
  for (size_t i = 0; is_npy && i < length_bytes; ++i) {
    length |= static_cast<size_t>(static_cast<unsigned char>(bytes[8 + i])) << (8 * i);
  }
  NpyHeader header;
  header.values_at = 8 + length_bytes + length;
  if (!is_npy || header.values_at > bytes.size()) {
    throw DataError(path.string() +
                    ": expected a NumPy .npy file. Save the array with numpy.save.");
  }
  const std::string text = bytes.substr(8 + length_bytes, length);
  header.type = field(text, "'descr': *'([^']*)'", path);
  if (field(text, "'fortran_order': *(True|False)", path) == "True") {
    throw DataError(
        path.string() +
        ": stored in Fortran order, expected C order. Save numpy.ascontiguousarray of it.");
  }
  const std::string shape = field(text, "'shape': *\\(([^)]*)\\)", path);
  const std::regex number("[0-9]+");
  for (std::sregex_iterator i(shape.begin(), shape.end(), number), end; i != end; ++i) {
    header.shape.push_back(std::stoll(i->str()));
  }
  return header;
}

torch::Dtype dtype_of(const std::string& type, const std::filesystem::path& path) {
  if (type == "|u1") return torch::kUInt8;
  if (type == "|i1") return torch::kInt8;
  if (type == "<i2") return torch::kInt16;
  if (type == "<i4") return torch::kInt32;
  if (type == "<i8") return torch::kInt64;
  if (type == "<f4") return torch::kFloat32;
  if (type == "<f8") return torch::kFloat64;
  throw DataError(path.string() + ": element type \"" + type +
                  "\", expected uint8, float32, float64 or little-endian signed integers. Convert "
                  "with astype.");
}

torch::Tensor read_npy(const std::filesystem::path& path) {
  const std::string bytes = read_maybe_gzip(path);
  const NpyHeader header = parse_header(bytes, path);
  torch::Tensor values = torch::empty(header.shape, dtype_of(header.type, path));
  if (bytes.size() - header.values_at != values.nbytes()) {
    throw DataError(path.string() + ": shape " + shape_string(header.shape) + " needs " +
                    std::to_string(values.nbytes()) + " bytes, found " +
                    std::to_string(bytes.size() - header.values_at) +
                    ". The file is cut short or damaged.");
  }
  std::memcpy(values.data_ptr(), bytes.data() + header.values_at, values.nbytes());
  return values;
}

torch::Tensor as_images(const torch::Tensor& values, bool channels_last,
                        const std::filesystem::path& path) {
  if (channels_last) {
    if (values.dim() == 4) return values.permute({0, 3, 1, 2}).contiguous();
    throw DataError(path.string() + ": shape " + shape_string(values.sizes()) +
                    " with --channels-last, expected (N, H, W, C).");
  }
  if (values.scalar_type() != torch::kUInt8) {
    if (values.is_floating_point() && values.dim() >= 2) return values;
    throw DataError(path.string() + ": " + c10::toString(values.scalar_type()) + " of shape " +
                    shape_string(values.sizes()) +
                    ", expected uint8 images, or float32 or float64 (N, ...).");
  }
  if (values.dim() == 3) return values.unsqueeze(1);
  // More channels than rows: almost surely (N, H, W, C), which would train on nonsense without a word.
  if (values.dim() == 4 && !(values.size(3) <= 4 && values.size(1) > 4)) return values;
  throw DataError(path.string() + ": uint8 of shape " + shape_string(values.sizes()) +
                  ", expected (N, C, H, W) or (N, H, W). For (N, H, W, C) give --channels-last.");
}

torch::Tensor as_labels(const std::filesystem::path& path, int64_t size) {
  if (path.empty()) return {};
  const auto labels = read_npy(path);
  if (labels.is_floating_point() || labels.sizes() != std::vector<int64_t>{size}) {
    throw DataError(path.string() + ": " + c10::toString(labels.scalar_type()) + " of shape " +
                    shape_string(labels.sizes()) + ", expected integers of shape (" +
                    std::to_string(size) + ").");
  }
  return labels;
}

}  // namespace

void convert_npy(const std::filesystem::path& images_path, const std::filesystem::path& labels_path,
                 bool channels_last, const ConvertOptions& options) {
  const auto images = as_images(read_npy(images_path), channels_last, images_path);
  const auto labels = as_labels(labels_path, images.size(0));
  const auto sizes = split_sizes(images.size(0), options.validation.value_or(0), options.test);
  DatasetWriter writer(options.out, options.storage, options.overwrite);
  writer.set_attribute("source", "NumPy array " + images_path.filename().string());
  writer.set_attribute("split_rule", split_rule(sizes, images_path.filename().string()));
  write_splits(writer, sizes, images, labels);
  writer.commit();
}

}  // namespace scorenet::data
