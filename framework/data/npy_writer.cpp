#include "framework/data/npy_writer.hpp"

#include "framework/core/error.hpp"
#include "framework/data/npy.hpp"

namespace scorenet::data {
namespace {

// Magic, version, length and dictionary, padded so that the values begin at a multiple of 64.
std::string header(torch::Dtype dtype, const std::vector<int64_t>& shape) {
  constexpr size_t kBefore = 10, kMultiple = 64;
  std::string sizes;
  for (const int64_t size : shape) sizes += std::to_string(size) + ", ";
  if (shape.size() > 1) sizes.resize(sizes.size() - 2);
  std::string text = std::string("{'descr': '") + npy_type(dtype) +
                     "', 'fortran_order': False, 'shape': (" + sizes + "), }";
  text.resize((text.size() + kBefore + kMultiple) / kMultiple * kMultiple - kBefore - 1, ' ');
  text += '\n';
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(text.size() % 256) +
         static_cast<char>(text.size() / 256) + text;
}

}  // namespace

NpyWriter::NpyWriter(const std::filesystem::path& path, torch::Dtype dtype,
                     const std::vector<int64_t>& shape)
    : path_(path), dtype_(dtype), out_(path, std::ios::binary) {
  const std::string text = header(dtype, shape);
  header_bytes_ = static_cast<int64_t>(text.size());
  out_ << text;
  check();
}

void NpyWriter::write_rows(int64_t first, const torch::Tensor& rows) {
  const torch::Tensor values = rows.to(dtype_).contiguous();
  if (values.size(0) == 0) return;
  const auto bytes = static_cast<int64_t>(values.nbytes());
  out_.seekp(header_bytes_ + first * (bytes / values.size(0)));
  out_.write(static_cast<const char*>(values.const_data_ptr()), bytes);
  check();
}

void NpyWriter::close() {
  out_.close();
  check();
}

void NpyWriter::check() const {
  if (out_) return;
  throw DataError(path_.string() +
                  ": cannot be written. Check the free space and the permissions there.");
}

}  // namespace scorenet::data
