// One of the four IDX files of a data set; the first byte says which. The others are whole.
#include <filesystem>

#include "framework/data/convert.hpp"
#include "tests/fuzz/target_support.hpp"
#include "tests/fuzz/targets.hpp"
#include "tests/support/picture_bytes.hpp"

namespace scorenet::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNames[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                  "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};

std::string whole(size_t file) {
  const bool images = file % 2 == 0;
  const uint64_t samples = file < 2 ? 6 : 2;
  std::string bytes = std::string("\0\0\x08", 3) + static_cast<char>(images ? 3 : 1);
  bytes += test::big_endian(samples);
  if (images) bytes += test::big_endian(4) + test::big_endian(4);
  return bytes + std::string(samples * (images ? 16 : 1), '\x01');
}

}  // namespace

bool idx(std::string_view bytes) {
  const auto [chosen, content] = choose(bytes, 4);
  const fs::path folder = workplace() / "idx";
  fs::remove_all(folder);
  for (size_t file = 0; file < 4; ++file) {
    if (file != chosen) {
      test::write_bytes(folder / kNames[file], whole(file));
      continue;
    }
    const bool packed = content.starts_with("\x1f\x8b");
    test::write_bytes(folder / (std::string(kNames[file]) + (packed ? ".gz" : "")), content);
  }
  data::ConvertOptions options;
  options.out = workplace() / "idx.h5";
  options.overwrite = true;
  return takes<DataError, ConfigError>([&] { data::convert_idx(folder, options); });
}

}  // namespace scorenet::fuzz
