// What the tests of the converters share: a folder for sources, the options, the file that is made.
#pragma once

#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "framework/data/convert.hpp"
#include "framework/data/image_dataset.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/npy.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::data {

namespace fs = std::filesystem;
using Indices = std::vector<int64_t>;
using test::bytes_of;
using test::npy;

inline std::string gzipped(const std::string& bytes) {
  const test::TemporaryFolder folder;
  const auto path = folder.file("x.gz");
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// An IDX file of unsigned bytes: value i is i mod 256.
inline std::string idx(const std::vector<unsigned char>& shape) {
  std::string bytes{'\0', '\0', '\x08', static_cast<char>(shape.size())};
  size_t count = 1;
  for (const auto size : shape) {
    bytes += std::string(3, '\0') + static_cast<char>(size);
    count *= size;
  }
  for (size_t i = 0; i < count; ++i) bytes += static_cast<char>(i);
  return bytes;
}

class ConvertTest : public testing::Test {
 protected:
  ConvertOptions options(int64_t validation = 0) {
    ConvertOptions result;
    result.out = folder_.file("out.h5");
    result.overwrite = true;
    result.validation = validation;
    return result;
  }
  fs::path put(const std::string& name, const std::string& bytes) {
    test::write_bytes(folder_.path() / name, bytes);
    return folder_.path() / name;
  }
  void put_mnist(const std::function<std::string(const std::string&)>& packed,
                 const std::string& ending) {
    put("mnist/train-images-idx3-ubyte" + ending, packed(idx({10, 4, 3})));
    put("mnist/train-labels-idx1-ubyte" + ending, packed(idx({10})));
    put("mnist/t10k-images-idx3-ubyte" + ending, packed(idx({2, 4, 3})));
    put("mnist/t10k-labels-idx1-ubyte" + ending, packed(idx({2})));
  }
  ImageDataset opened(const std::string& split) {
    return ImageDataset(folder_.file("out.h5"), split);
  }
  std::string attribute(const std::string& key) {
    return Hdf5File::open(folder_.file("out.h5")).attribute("/", key).value_or("none");
  }
  // Nothing may be left of a conversion that failed.
  bool nothing_written() {
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      const auto name = entry.path().filename().string();
      if (name.find("out.h5") != std::string::npos) return false;
    }
    return true;
  }

  test::TemporaryFolder folder_;
};

}  // namespace scorenet::data
