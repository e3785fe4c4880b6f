// Pictures in a zip file, as EDM's dataset_tool.py packs them.
// Its checksums would keep most changes out, so the first byte says what the rest is: the archive,
// or in a whole one its labels or a picture.
#include "framework/data/convert.hpp"
#include "framework/data/zip_archive.hpp"
#include "tests/fuzz/target_support.hpp"
#include "tests/fuzz/targets.hpp"
#include "tests/support/zip_bytes.hpp"

namespace scorenet::fuzz {
namespace {

constexpr int64_t kMost = 1 << 20;

std::string archive_of(const Chosen& chosen) {
  if (chosen.file == 0) return std::string(chosen.bytes);
  const std::string given(chosen.bytes), labels = R"({"labels": null})";
  const std::string whole =
      test::png_file(test::big_endian(16) + test::big_endian(8) + '\x08' + std::string(4, '\0'),
                     std::string(8 * 17, '\0'), "");
  return test::zip_file({{"a/x.png", whole},
                         {"a/y.png", chosen.file == 2 ? given : whole},
                         {"dataset.json", chosen.file == 1 ? given : labels}});
}

// Each entry as it says that it is, or not at all.
void read_all(const std::string& path) {
  const data::ZipArchive archive(path);
  for (const std::string& name : archive.names()) {
    std::string bytes;
    if (takes<DataError>([&] { bytes = archive.read(name, kMost); }))
      demand(bytes.size() <= static_cast<size_t>(kMost), "an entry is larger than was allowed");
  }
}

}  // namespace

bool zip(std::string_view bytes) {
  const std::string path = workplace() / "x.zip";
  test::write_bytes(path, archive_of(choose(bytes, 3)));
  if (!takes<DataError>([&] { read_all(path); })) return false;
  data::ConvertOptions options;
  options.out = workplace() / "zip.h5";
  options.overwrite = true;
  return takes<DataError, ConfigError>([&] { data::convert_zip(path, options); });
}

}  // namespace scorenet::fuzz
