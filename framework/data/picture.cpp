#include "framework/data/picture.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <functional>
#include <new>
#include <stdexcept>

#include "framework/core/error.hpp"
#include "framework/data/picture_decoders.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostPixels = int64_t{1} << 28;

using Decoder = RawPicture (*)(std::string_view, Part);

// By the first bytes: a name's ending is often wrong, and decoders guess nothing.
Decoder decoder_of(std::string_view bytes) {
  if (bytes.starts_with("\x89PNG\r\n\x1a\n")) return decode_png;
  if (bytes.starts_with("\xff\xd8\xff")) return decode_jpeg;
  if (bytes.starts_with("RIFF") && bytes.substr(0, 12).ends_with("WEBP")) return decode_webp;
  std::string kind = bytes.empty() ? "the file is empty" : "it is none of the three";
  if (bytes.starts_with("GIF8")) kind = "it is a GIF";
  if (bytes.starts_with("BM")) kind = "it is a BMP";
  if (bytes.starts_with("II*") || bytes.starts_with("MM")) kind = "it is a TIFF";
  throw std::runtime_error(kind);
}

// Calls `decoding`; what it throws is told of `name`.
RawPicture guarded(const std::string& name, const std::function<RawPicture()>& decoding) {
  try {
    return decoding();
  } catch (const files::FileError& error) {
    throw DataError(error.what());
  } catch (const std::bad_alloc&) {
    throw DataError(name + ": too large for this machine's memory. Remove it.");
  } catch (const std::runtime_error& error) {
    throw DataError(name + ": cannot be decoded (" + error.what() +
                    "). Expected a whole PNG, JPEG or WebP: repair or remove it.");
  }
}

RawPicture decode(const fs::path& path, Part part) {
  return guarded(path.string(), [&] {
    files::require_regular_file(path);
    const std::string bytes = files::read_file(path);
    return decoder_of(bytes)(bytes, part);
  });
}

RawPicture decode_bytes(const std::string& name, std::string_view bytes, Part part) {
  return guarded(name, [&] { return decoder_of(bytes)(bytes, part); });
}

PictureHeader header_of(const RawPicture& raw) {
  const bool lies = raw.orientation >= 5;  // rows and columns change places
  return {lies ? raw.width : raw.height, lies ? raw.height : raw.width, raw.channels >= 3,
          raw.bits};
}

torch::Tensor values_of(RawPicture& raw) {
  const std::array<int64_t, 3> shape{raw.height, raw.width, raw.channels};
  if (raw.bits == 8) return torch::from_blob(raw.values.data(), shape, torch::kUInt8).clone();
  auto values = torch::empty(shape, torch::kInt32);
  auto* out = values.data_ptr<int32_t>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    uint16_t value = 0;
    std::memcpy(&value, raw.values.data() + 2 * i, sizeof value);
    out[i] = value;
  }
  return values;
}

// x = a c + (1 - a) white, rounded. Transparent pixels hold whatever colour a program left there.
void lay_over_white(Picture& picture, int bits) {
  const auto channels = picture.pixels.size(2) - 1;
  const auto colours = picture.pixels.narrow(2, 0, channels);
  const auto alpha = picture.pixels.narrow(2, channels, 1);
  const int64_t white = (int64_t{1} << bits) - 1;
  picture.laid_over_white = alpha.lt(white).any().item<bool>();
  if (picture.laid_over_white) {
    const auto a = alpha.to(torch::kInt64);
    const auto sum = a * colours.to(torch::kInt64) + (white - a) * white;
    picture.pixels = torch::floor_divide(sum + white / 2, white).to(picture.pixels.scalar_type());
  } else {
    picture.pixels = colours;
  }
}

// EXIF 2.3, tag 0x0112: how the stored rows and columns lie in the picture.
torch::Tensor turned(const torch::Tensor& pixels, int orientation) {
  switch (orientation) {
    case 2:
      return pixels.flip({1});
    case 3:
      return pixels.flip({0, 1});
    case 4:
      return pixels.flip({0});
    case 5:
      return pixels.transpose(0, 1);
    case 6:
      return pixels.transpose(0, 1).flip({1});
    case 7:
      return pixels.transpose(0, 1).flip({0, 1});
    case 8:
      return pixels.transpose(0, 1).flip({0});
    default:
      return pixels;
  }
}

uint32_t number(std::string_view bytes, size_t at, size_t count, bool big_endian) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t place = at + (big_endian ? i : count - 1 - i);
    value = value << 8 | static_cast<uint8_t>(bytes[place]);
  }
  return value;
}

}  // namespace

int exif_orientation(std::string_view tiff) {
  constexpr size_t kEntry = 12;
  constexpr uint32_t kOrientation = 0x0112, kShort = 3;
  const bool big_endian = tiff.starts_with("MM");
  if (tiff.size() < 8 || (!big_endian && !tiff.starts_with("II"))) return 1;
  const size_t directory = number(tiff, 4, 4, big_endian);
  if (directory > tiff.size() - 2) return 1;
  const size_t entries = number(tiff, directory, 2, big_endian);
  for (size_t i = 0; i < entries; ++i) {
    const size_t at = directory + 2 + kEntry * i;
    if (at + kEntry > tiff.size()) return 1;
    if (number(tiff, at, 2, big_endian) != kOrientation) continue;
    const uint32_t value = number(tiff, at + 8, 2, big_endian);
    return number(tiff, at + 2, 2, big_endian) == kShort && value >= 1 && value <= 8
               ? static_cast<int>(value)
               : 1;
  }
  return 1;
}

void check_pixel_count(int64_t height, int64_t width, size_t bytes, int64_t most_pixels_a_byte) {
  const std::string size = std::to_string(width) + " x " + std::to_string(height) + " pixels";
  if (height < 1 || width < 1 || height > kMostPixels / width) {
    throw std::runtime_error(size + ", expected 1 to " + std::to_string(kMostPixels));
  }
  if (height * width / most_pixels_a_byte > static_cast<int64_t>(bytes)) {
    throw std::runtime_error(size + " declared, more than its " + std::to_string(bytes) +
                             " bytes can hold");
  }
}

bool has_picture_ending(const fs::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::array<std::string_view, 7> kEndings{".png", ".apng", ".jpg", ".jpeg",
                                                     ".jpe", ".jfif", ".webp"};
  return std::find(kEndings.begin(), kEndings.end(), ending) != kEndings.end();
}

PictureHeader read_picture_header(const fs::path& path) {
  return header_of(decode(path, Part::header));
}

PictureHeader picture_header_of(const std::string& name, std::string_view bytes) {
  return header_of(decode_bytes(name, bytes, Part::header));
}

namespace {

// Its tensors hold a picture some times over.
Picture finished(RawPicture raw) {
  Picture picture;
  picture.pixels = values_of(raw);
  picture.more_frames = raw.more_frames;
  picture.cmyk = raw.cmyk;
  if (raw.channels == 2 || raw.channels == 4) lay_over_white(picture, raw.bits);
  picture.turned = raw.orientation != 1;
  picture.pixels = turned(picture.pixels, raw.orientation).contiguous();
  return picture;
}

Picture whole_of(RawPicture raw, const std::string& name) {
  const std::string size = std::to_string(raw.width) + " x " + std::to_string(raw.height);
  try {
    return finished(std::move(raw));
  } catch (const c10::Error&) {  // LibTorch's word for no memory
    throw DataError(name + ": its " + size +
                    " pixels are too many for this machine's memory. Remove it.");
  }
}

}  // namespace

Picture read_picture(const fs::path& path) {
  return whole_of(decode(path, Part::all), path.string());
}

Picture picture_of(const std::string& name, std::string_view bytes) {
  return whole_of(decode_bytes(name, bytes, Part::all), name);
}

}  // namespace scorenet::data
