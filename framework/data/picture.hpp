// Pictures from files: PNG (libpng), JPEG (libjpeg-turbo) and WebP (libwebp), told
// apart by content.
//
// A file that its decoder finds anything wrong with is refused: checksums, early ends, warnings of
// libjpeg about its data. What the 8-bit colour or grey result lacks of the file is told by flags.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <string>

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

/// Endings (lower case, with the dot) of files that are taken for pictures.
bool has_picture_ending(const std::filesystem::path& path);

/// Throws DataError: not a regular file, no PNG, JPEG or WebP, damaged, or more pixels than its
/// bytes can hold.
PictureHeader read_picture_header(const std::filesystem::path& path);

/// The whole picture. Throws as read_picture_header; any damage to the pixels as well.
Picture read_picture(const std::filesystem::path& path);

}  // namespace scorenet::data
