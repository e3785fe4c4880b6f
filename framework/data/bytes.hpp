// Values as bytes, for another rank of the same program.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "framework/core/error.hpp"

namespace scorenet::data {

/// Numbers and text, one after the other.
class ByteWriter {
 public:
  void number(int64_t value) { raw(&value, sizeof value); }
  void text(const std::string& value) {
    number(static_cast<int64_t>(value.size()));
    raw(value.data(), value.size());
  }
  void numbers(const std::vector<int64_t>& values) {
    number(static_cast<int64_t>(values.size()));
    raw(values.data(), values.size() * sizeof(int64_t));
  }
  void texts(const std::vector<std::string>& values) {
    number(static_cast<int64_t>(values.size()));
    for (const std::string& value : values) text(value);
  }
  void real(double value) { raw(&value, sizeof value); }
  void raw(const void* data, size_t size) { bytes_.append(static_cast<const char*>(data), size); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// Of what a ByteWriter wrote, in the same order.
class ByteReader {
 public:
  explicit ByteReader(const std::string& bytes) : bytes_(bytes) {}

  int64_t number() {
    int64_t value = 0;
    raw(&value, sizeof value);
    return value;
  }
  double real() {
    double value = 0;
    raw(&value, sizeof value);
    return value;
  }
  size_t count() { return static_cast<size_t>(number()); }
  std::string text() {
    std::string value(count(), '\0');
    raw(value.data(), value.size());
    return value;
  }
  std::vector<int64_t> numbers() {
    std::vector<int64_t> values(count());
    raw(values.data(), values.size() * sizeof(int64_t));
    return values;
  }
  std::vector<std::string> texts() {
    std::vector<std::string> values(count());
    for (std::string& value : values) value = text();
    return values;
  }
  void raw(void* data, size_t size) {
    if (size > bytes_.size() - at_) throw DataError("what another rank found is cut short.");
    std::memcpy(data, bytes_.data() + at_, size);
    at_ += size;
  }

 private:
  const std::string& bytes_;
  size_t at_ = 0;
};

}  // namespace scorenet::data
