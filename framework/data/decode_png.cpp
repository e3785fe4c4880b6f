// libpng checks each chunk's CRC and the end of the compressed data; damage to any chunk is
// an error here.
#include <png.h>

#include <array>
#include <bit>
#include <csetjmp>
#include <cstring>
#include <stdexcept>

#include "framework/data/picture_decoders.hpp"

namespace scorenet::data {
namespace {

constexpr size_t kSignature = 8;
// deflate's best ratio is 1032 (zlib, "Maximum compression factor"); one byte holds 8 pixels
// of one bit.
constexpr int64_t kMostPixelsAByte = 8 * 1032;

// Owns libpng's structures, and what its callbacks need.
struct Reader {
  explicit Reader(std::string_view file) : bytes(file) {}
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  std::string_view bytes;
  size_t at = 0;
  std::array<char, 256> reason{};  // no string: nothing here may need a destructor under longjmp
  png_structp png = nullptr;
  png_infop info = nullptr;
};

extern "C" {
[[noreturn]] static void on_png_error(png_structp png, png_const_charp message) {
  auto* reader = static_cast<Reader*>(png_get_error_ptr(png));
  std::strncpy(reader->reason.data(), message, reader->reason.size() - 1);
  png_longjmp(png, 1);
}

// Harmless by libpng's own judgement, such as a colour profile that it knows to be odd.
static void on_png_warning(png_structp, png_const_charp) {}

static void read_png_bytes(png_structp png, png_bytep out, png_size_t count) {
  auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
  if (count > reader->bytes.size() - reader->at) png_error(png, "the file ends early");
  std::memcpy(out, reader->bytes.data() + reader->at, count);
  reader->at += count;
}
}

// Nothing with a destructor may live in the functions that libpng jumps out of.
bool read_info(Reader& reader) {
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_png_error, on_png_warning);
  if (reader.png == nullptr) return false;
  if (setjmp(png_jmpbuf(reader.png))) return false;
  reader.info = png_create_info_struct(reader.png);
  png_set_read_fn(reader.png, &reader, read_png_bytes);
  png_set_crc_action(reader.png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_read_info(reader.png, reader.info);
  return true;
}

// Palettes become RGB, 1 to 4 bits become 8, a transparent colour becomes an alpha channel.
bool expand(Reader& reader) {
  if (setjmp(png_jmpbuf(reader.png))) return false;
  png_set_expand(reader.png);
  if (std::endian::native == std::endian::little) png_set_swap(reader.png);
  png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  return true;
}

bool read_rows(Reader& reader, png_bytepp rows) {
  if (setjmp(png_jmpbuf(reader.png))) return false;
  png_read_image(reader.png, rows);
  png_read_end(reader.png, nullptr);  // the checksums of the last chunks
  return true;
}

[[noreturn]] void fail(const Reader& reader) {
  throw std::runtime_error(std::string("libpng: ") +
                           (reader.reason[0] != '\0' ? reader.reason.data() : "out of memory"));
}

size_t chunk_length(std::string_view bytes, size_t at) {
  size_t length = 0;
  for (size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<uint8_t>(bytes[at + i]);
  return length;
}

// Whether some chunk is longer than what is left of the file. libpng takes, and fills, a chunk's
// memory before it reads it: 2 GB for a file of a few bytes.
bool ends_within_a_chunk(std::string_view bytes) {
  for (size_t at = kSignature; at + 12 <= bytes.size();) {
    const size_t length = chunk_length(bytes, at);
    if (length > bytes.size() - at - 12) return true;
    if (bytes.substr(at + 4, 4) == "IEND") return false;
    at += 12 + length;
  }
  return false;  // libpng sees what is missing
}

// Calls use(type, content) for each chunk that lies whole in the file.
template <typename Use>
void for_each_chunk(std::string_view bytes, Use use) {
  size_t at = kSignature;
  while (bytes.size() - at >= 12) {
    const size_t length = chunk_length(bytes, at);
    if (length > bytes.size() - at - 12) return;
    use(bytes.substr(at + 4, 4), bytes.substr(at + 8, length));
    at += 12 + length;
  }
}

void read_values(Reader& reader, RawPicture& picture) {
  const size_t row_bytes = png_get_rowbytes(reader.png, reader.info);
  picture.values.resize(row_bytes * static_cast<size_t>(picture.height));
  std::vector<png_bytep> rows;
  for (int64_t row = 0; row < picture.height; ++row) {
    rows.push_back(picture.values.data() + static_cast<size_t>(row) * row_bytes);
  }
  if (!read_rows(reader, rows.data())) fail(reader);
}

}  // namespace

RawPicture decode_png(std::string_view bytes, Part part) {
  Reader reader(bytes);
  if (ends_within_a_chunk(bytes)) throw std::runtime_error("libpng: the file ends early");
  if (!read_info(reader)) fail(reader);
  RawPicture picture;
  picture.height = png_get_image_height(reader.png, reader.info);
  picture.width = png_get_image_width(reader.png, reader.info);
  check_pixel_count(picture.height, picture.width, bytes.size(), kMostPixelsAByte);
  if (!expand(reader)) fail(reader);
  picture.channels = png_get_channels(reader.png, reader.info);
  picture.bits = png_get_bit_depth(reader.png, reader.info) == 16 ? 16 : 8;
  for_each_chunk(bytes, [&picture](std::string_view type, std::string_view content) {
    if (type == "eXIf") picture.orientation = exif_orientation(content);
    if (type == "acTL") picture.more_frames = true;  // animated PNG
  });
  if (part == Part::all) read_values(reader, picture);
  return picture;
}

}  // namespace scorenet::data
