// Pictures from files: PNG (libpng), JPEG (libjpeg-turbo) and WebP (libwebp), told
// apart by content.
//
// A file is refused if its decoder finds any fault: a wrong checksum, an early end, a warning of
// libjpeg about the data. Flags say what the colour or grey result has lost of the file.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace scorenet::data {

/// What a file's header says, after its orientation is applied.
struct PictureHeader {
  int64_t height = 0;
  int64_t width = 0;
  bool colour = false;
  int bits = 8;  // 8, or 16 for any more than 8 bits a channel
};

struct Picture {
  torch::Tensor pixels;          // (H, W, C), C = 1 or 3; uint8, or int32 in [0, 65535] for 16 bits
  bool turned = false;           // by the EXIF orientation
  bool laid_over_white = false;  // it had pixels that are not opaque
  bool more_frames = false;      // this is the first of several
  bool cmyk = false;             // turned to RGB without a colour profile
};

/// Whether the name ends as pictures' names do, in any case: ".png", ".jpg", ...
bool has_picture_ending(const std::filesystem::path& path);

/// Throws DataError unless this is a regular, undamaged PNG, JPEG or WebP file whose bytes can hold
/// its pixels.
PictureHeader read_picture_header(const std::filesystem::path& path);

/// The whole picture. Throws as read_picture_header; any damage to the pixels as well.
Picture read_picture(const std::filesystem::path& path);

/// The same of bytes that lie in memory; name: of where they come from, for messages.
PictureHeader picture_header_of(const std::string& name, std::string_view bytes);
Picture picture_of(const std::string& name, std::string_view bytes);

}  // namespace scorenet::data
