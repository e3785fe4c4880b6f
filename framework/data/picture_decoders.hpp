// The three decoders behind picture.hpp, each the one file that knows its library.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace scorenet::data {

/// A picture as its file holds it: not yet turned, with its alpha channel.
struct RawPicture {
  int64_t height = 0;
  int64_t width = 0;
  int channels = 1;     // 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha
  int bits = 8;         // 8 or 16 a channel
  int orientation = 1;  // EXIF's number, 1 to 8
  bool more_frames = false;
  bool cmyk = false;            // the file is CMYK; the values here are RGB
  std::vector<uint8_t> values;  // rows from the top, channels together; 16 bits in native order;
                                // empty if only the header was asked for
};

enum class Part { header, all };

/// Decode a file's bytes. Throw std::runtime_error with the library's reason.
RawPicture decode_png(std::string_view bytes, Part part);
RawPicture decode_jpeg(std::string_view bytes, Part part);
RawPicture decode_webp(std::string_view bytes, Part part);

/// Throws std::runtime_error for more than 2^28 pixels, or for more than `bytes` bytes can hold, at
/// most `most_pixels_a_byte` each.
void check_pixel_count(int64_t height, int64_t width, size_t bytes, int64_t most_pixels_a_byte);

/// The orientation in an EXIF block (TIFF header first); 1 where there is none.
int exif_orientation(std::string_view tiff);

}  // namespace scorenet::data
