// NumPy's .npy files, byte for byte, as NumPy writes them.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

namespace scorenet::test {

/// Version 1.0. type: "<f4"; shape as Python writes it: "(60, 1, 8, 8)" or "(60,)"; values: the
/// array's bytes. The header is padded with spaces to at least `header_bytes`.
inline std::string npy(const std::string& type, const std::string& shape, const std::string& values,
                       const char* fortran = "False", size_t header_bytes = 0) {
  std::string header =
      "{'descr': '" + type + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
  header.resize((std::max(header.size(), header_bytes) + 10 + 64) / 64 * 64 - 11, ' ');
  header += '\n';
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size() % 256) +
         static_cast<char>(header.size() / 256) + header + values;
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace scorenet::test
