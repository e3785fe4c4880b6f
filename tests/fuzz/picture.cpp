// A picture, alone and in a folder beside a whole one. The checksums of a PNG would keep every
// change out, so it is also read with some that fit.
#include "framework/data/picture.hpp"

#include <filesystem>

#include "framework/data/convert.hpp"
#include "tests/fuzz/target_support.hpp"
#include "tests/fuzz/targets.hpp"
#include "tests/support/picture_bytes.hpp"

namespace scorenet::fuzz {
namespace {

std::string whole() {
  return test::png_file(test::big_endian(16) + test::big_endian(8) + '\x08' + std::string(4, '\0'),
                        std::string(8 * 17, '\0'), "");
}

bool read(const std::string& path, std::string_view bytes) {
  test::write_bytes(path, bytes);
  data::PictureHeader header;
  const bool known = takes<DataError>([&] { header = data::read_picture_header(path); });
  data::Picture picture;
  if (!takes<DataError>([&] { picture = data::read_picture(path); })) return false;
  demand(known, "a picture without a header was read");
  demand(picture.pixels.size(0) == header.height && picture.pixels.size(1) == header.width,
         "a picture has not its header's size");
  return true;
}

}  // namespace

bool picture(std::string_view bytes) {
  const std::string folder = workplace() / "pictures", path = folder + "/a/x.png";
  test::write_bytes(folder + "/a/y.png", whole());
  bool taken = read(path, bytes);
  if (bytes.starts_with("\x89PNG"))
    taken = read(path, test::with_checksums(std::string(bytes))) || taken;
  data::ConvertOptions options;
  options.out = workplace() / "pictures.h5";
  options.overwrite = true;
  takes<DataError, ConfigError>([&] { data::convert_folder(folder, options); });
  return taken;
}

}  // namespace scorenet::fuzz
