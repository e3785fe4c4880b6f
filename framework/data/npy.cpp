#include "framework/data/npy.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <numeric>
#include <optional>
#include <string_view>

#include "framework/core/check.hpp"
#include "framework/data/notes.hpp"

namespace scorenet::data {
namespace {

// NumPy's own headers have some hundred bytes; long ones belong to structured types, which
// are not read.
constexpr size_t kMostHeaderBytes = size_t{1} << 20;
constexpr size_t kMostAxes = 31;  // HDF5 has 32, and images may get one more

struct Header {
  std::string type;
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

// Reads exactly the dictionaries that numpy.save writes, from left to right. Each step returns
// false, or nothing, at whatever else stands there.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  std::optional<Header> parse() {
    Header header;
    if (!take('{')) return std::nullopt;
    int seen = 0;
    while (!take('}')) {
      const auto key = quoted();
      if (!key || !take(':') || !value(*key, header)) return std::nullopt;
      ++seen;
      if (!take(',') && peek() != '}') return std::nullopt;
    }
    if (seen != 3 || !header_keys_complete() || peek() != '\0') return std::nullopt;
    return header;
  }

 private:
  bool value(const std::string& key, Header& header) {
    if (key == "descr") return type_ = true, read_type(header);
    if (key == "fortran_order") return order_ = true, read_order(header);
    if (key == "shape") return shape_ = true, read_shape(header);
    return false;
  }
  bool header_keys_complete() const { return type_ && order_ && shape_; }

  bool read_type(Header& header) {
    const auto type = quoted();
    header.type = type.value_or("");
    return type.has_value();
  }

  bool read_order(Header& header) {
    header.fortran_order = word("True");
    return header.fortran_order || word("False");
  }

  bool read_shape(Header& header) {
    if (!take('(')) return false;
    while (!take(')')) {
      const auto size = number();
      if (!size || header.shape.size() > kMostAxes) return false;
      header.shape.push_back(*size);
      take('L');  // Python 2 wrote long integers so
      if (!take(',') && peek() != ')') return false;
    }
    return true;
  }

  void skip_space() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\n')) text_.remove_prefix(1);
  }
  char peek() {
    skip_space();
    return text_.empty() ? '\0' : text_[0];
  }
  bool take(char c) {
    if (peek() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  bool word(std::string_view expected) {
    skip_space();
    if (!text_.starts_with(expected)) return false;
    text_.remove_prefix(expected.size());
    return true;
  }
  std::optional<std::string> quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') return std::nullopt;
    const auto end = text_.find(quote, 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string result(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return result;
  }
  // Not negative, below 2^63.
  std::optional<int64_t> number() {
    skip_space();
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
    if (error != std::errc() || value < 0) return std::nullopt;
    text_.remove_prefix(static_cast<size_t>(end - text_.data()));
    return value;
  }

  std::string_view text_;
  bool type_ = false, order_ = false, shape_ = false;
};

struct NpyType {
  const char* text;
  torch::Dtype dtype;
  const char* name;
};
// The last are read only where every type is.
constexpr size_t kUsual = 7;
constexpr std::array<NpyType, 10> kTypes{{{"|u1", torch::kUInt8, "uint8"},
                                          {"|i1", torch::kInt8, "int8"},
                                          {"<i2", torch::kInt16, "int16"},
                                          {"<i4", torch::kInt32, "int32"},
                                          {"<i8", torch::kInt64, "int64"},
                                          {"<f4", torch::kFloat32, "float32"},
                                          {"<f8", torch::kFloat64, "float64"},
                                          {"<f2", torch::kFloat16, "float16"},
                                          {"<u2", torch::kUInt16, "uint16"},
                                          {"<u4", torch::kUInt32, "uint32"}}};

torch::Dtype dtype_of(const std::string& type, const std::filesystem::path& path, bool every_type) {
  for (size_t i = 0; i < (every_type ? kTypes.size() : kUsual); ++i) {
    if (type == kTypes[i].text) return kTypes[i].dtype;
  }
  throw DataError(path.string() + ": element type \"" + printable(type.substr(0, 40)) +
                  "\", expected uint8, float32, float64 or little-endian signed integers" +
                  (every_type ? ", float16, uint16 or uint32" : "") + ". Convert with astype.");
}

[[noreturn]] void fail_no_npy(const std::filesystem::path& path) {
  throw DataError(path.string() +
                  ": expected a NumPy .npy file that is whole. Save the array with numpy.save.");
}

// The dictionary's text.
std::string header_text(ByteSource& source, size_t& header_bytes) {
  const std::string start = source.read_string(8);
  if (start.size() < 8 || !start.starts_with("\x93NUMPY")) fail_no_npy(source.path());
  if (start[6] < 1 || start[6] > 3) {
    throw DataError(source.path().string() + ": .npy version " +
                    std::to_string(static_cast<unsigned char>(start[6])) +
                    ", expected 1 to 3. Save the array again with numpy.save.");
  }
  const std::string size = source.read_string(start[6] == 1 ? 2 : 4);
  size_t length = 0;
  for (size_t i = 0; i < size.size(); ++i) {
    length |= static_cast<size_t>(static_cast<unsigned char>(size[i])) << (8 * i);
  }
  header_bytes = start.size() + size.size() + length;
  if (static_cast<int64_t>(header_bytes) > source.most_bytes()) fail_no_npy(source.path());
  if (length > kMostHeaderBytes) {
    throw DataError(source.path().string() + ": a header of " + std::to_string(length) +
                    " bytes, expected one of a plain array. Save it again with numpy.save.");
  }
  std::string text = source.read_string(length);
  if (text.size() < length) fail_no_npy(source.path());
  return text;
}

int64_t bytes_of_row(const std::vector<int64_t>& shape, torch::Dtype dtype) {
  return std::accumulate(shape.begin() + 1, shape.end(),
                         static_cast<int64_t>(c10::elementSize(dtype)), std::multiplies<>());
}

}  // namespace

const char* npy_type(torch::Dtype dtype) {
  return std::find_if(kTypes.begin(), kTypes.end(),
                      [dtype](const NpyType& known) { return known.dtype == dtype; })
      ->text;
}

NpyFile::NpyFile(const std::filesystem::path& path, bool every_type)
    : source_(path), every_type_(every_type) {
  read_header();
}

void NpyFile::read_header() {
  const std::string text = header_text(source_, header_bytes_);
  const auto header = HeaderParser(text).parse();
  if (!header) {
    throw DataError(path().string() + ": its header is not that of a plain array: " +
                    printable(text.substr(0, 80)) + ". Save it again with numpy.save.");
  }
  if (header->fortran_order) {
    throw DataError(path().string() +
                    ": stored in Fortran order, expected C order. Save numpy.ascontiguousarray of "
                    "it.");
  }
  dtype_ = dtype_of(header->type, path(), every_type_);
  shape_ = header->shape;
  check_size(header_bytes_);
}

// Bounds every product by the file's size, so that none overflows.
void NpyFile::check_size(size_t header_bytes) {
  const bool empty = std::find(shape_.begin(), shape_.end(), 0) != shape_.end();
  if (shape_.empty() || empty || shape_.size() > kMostAxes) {
    throw DataError(where() + ", expected samples on the first of at most " +
                    std::to_string(kMostAxes) + " axes, and no axis of length 0.");
  }
  const int64_t room = source_.most_bytes() - static_cast<int64_t>(header_bytes);
  auto needed = static_cast<int64_t>(c10::elementSize(dtype_));
  bool fits = needed <= room;
  for (const int64_t size : shape_) {
    fits = fits && size <= room / needed;
    if (fits) needed *= size;
  }
  if (fits && (source_.gzip() || needed == room)) return;
  throw DataError(where() + " needs " + (fits ? std::to_string(needed) : "more") +
                  " bytes, found " + (source_.gzip() ? "at most " : "") + std::to_string(room) +
                  ". The file is cut short or damaged.");
}

const char* NpyFile::type_name() const {
  return std::find_if(kTypes.begin(), kTypes.end(),
                      [this](const NpyType& known) { return known.dtype == dtype_; })
      ->name;
}

int64_t NpyFile::offset() const {
  return source_.gzip() ? -1 : static_cast<int64_t>(header_bytes_);
}

std::string NpyFile::where() const {
  return path().string() + ": " + type_name() + " of shape " + shape_string(shape_);
}

torch::Tensor NpyFile::next_rows(int64_t count) {
  auto shape = shape_;
  shape[0] = count;
  torch::Tensor rows;
  try {
    rows = torch::empty(shape, dtype_);
  } catch (const c10::Error&) {
    throw DataError(where() + ": " + std::to_string(count) +
                    " rows do not fit into this machine's memory. Use a larger machine.");
  }
  const size_t got = source_.read(rows.data_ptr(), rows.nbytes());
  row_ += count;
  if (got < rows.nbytes() || (row_ == shape_[0] && !source_.at_end())) {
    throw DataError(where() + " needs " + std::to_string(bytes_of_row(shape_, dtype_) * shape_[0]) +
                    " bytes, found " + (got < rows.nbytes() ? "fewer" : "more") +
                    ". The file is cut short or damaged.");
  }
  return rows;
}

void NpyFile::rewind() {
  source_.rewind();
  source_.read_string(header_bytes_);
  row_ = 0;
}

}  // namespace scorenet::data
