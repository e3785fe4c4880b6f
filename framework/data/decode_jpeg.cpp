// libjpeg-turbo goes on after damage with a warning; here a warning about the data is an error.
// jpeglib.h uses FILE and size_t without including what defines them.
#include <cstddef>
#include <cstdio>
// A block of its own, so that the formatter leaves the order.
#include <jerror.h>
#include <jpeglib.h>

#include <array>
#include <csetjmp>
#include <cstring>
#include <stdexcept>

#include "framework/data/picture_decoders.hpp"

namespace scorenet::data {
namespace {

// A Huffman code has at least one bit, and a block of 8 x 8 at least one code: 512 pixels a byte.
constexpr int64_t kMostPixelsAByte = 512;
constexpr std::string_view kExifStart("Exif\0\0", 6);

// Owns libjpeg's structures, and what its callbacks need.
struct Reader {
  Reader() { state.err = jpeg_std_error(&errors); }
  ~Reader() { jpeg_destroy_decompress(&state); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  jpeg_decompress_struct state{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::array<char, JMSG_LENGTH_MAX> reason{};
  std::jmp_buf jump{};
};

extern "C" {
[[noreturn]] static void on_jpeg_error(j_common_ptr state) {
  auto* reader = static_cast<Reader*>(state->client_data);
  state->err->format_message(state, reader->reason.data());
  std::longjmp(reader->jump, 1);
}

// Negative levels are warnings. An unknown transform code in Adobe's marker says nothing
// of the data.
static void on_jpeg_message(j_common_ptr state, int level) {
  if (level < 0 && state->err->msg_code != JWRN_ADOBE_XFORM) on_jpeg_error(state);
}
}

// Nothing with a destructor may live in the functions that libjpeg jumps out of.
bool read_header(Reader& reader, std::string_view bytes) {
  reader.errors.error_exit = on_jpeg_error;
  reader.errors.emit_message = on_jpeg_message;
  reader.state.client_data = &reader;
  if (setjmp(reader.jump)) return false;
  jpeg_create_decompress(&reader.state);
  jpeg_save_markers(&reader.state, JPEG_APP0 + 1, 0xffff);
  jpeg_mem_src(&reader.state, reinterpret_cast<const unsigned char*>(bytes.data()),
               static_cast<unsigned long>(bytes.size()));  // NOLINT: libjpeg's own type
  jpeg_read_header(&reader.state, TRUE);
  return true;
}

// A file of a thousand scans, each of a few bytes, would go through all its pixels as often.
extern "C" {
static void on_jpeg_progress(j_common_ptr state) {
  constexpr int kMostScans = 100;
  auto* decoder = reinterpret_cast<jpeg_decompress_struct*>(state);
  if (decoder->input_scan_number <= kMostScans) return;
  auto* reader = static_cast<Reader*>(state->client_data);
  std::strncpy(reader->reason.data(), "more than 100 scans", reader->reason.size() - 1);
  std::longjmp(reader->jump, 1);
}
}

bool read_rows(Reader& reader, uint8_t* values) {
  if (setjmp(reader.jump)) return false;
  reader.progress.progress_monitor = on_jpeg_progress;
  reader.state.progress = &reader.progress;
  jpeg_start_decompress(&reader.state);
  const size_t row_bytes =
      size_t{reader.state.output_width} * static_cast<size_t>(reader.state.output_components);
  while (reader.state.output_scanline < reader.state.output_height) {
    JSAMPROW row = values + reader.state.output_scanline * row_bytes;
    jpeg_read_scanlines(&reader.state, &row, 1);
  }
  jpeg_finish_decompress(&reader.state);
  return true;
}

[[noreturn]] void fail(const Reader& reader) {
  throw std::runtime_error(std::string("libjpeg-turbo: ") + reader.reason.data());
}

int orientation(const jpeg_decompress_struct& state) {
  for (auto marker = state.marker_list; marker != nullptr; marker = marker->next) {
    const std::string_view content(reinterpret_cast<const char*>(marker->data),
                                   marker->data_length);
    if (content.starts_with(kExifStart)) return exif_orientation(content.substr(kExifStart.size()));
  }
  return 1;
}

// Without a colour profile: R = (1 - C) (1 - K). Adobe's programs store 255 - C and so on.
std::vector<uint8_t> rgb_from_cmyk(const std::vector<uint8_t>& cmyk, bool inverted) {
  std::vector<uint8_t> rgb;
  rgb.reserve(cmyk.size() / 4 * 3);
  const int turn = inverted ? 0 : 255;
  for (size_t at = 0; at < cmyk.size(); at += 4) {
    const int white = turn ^ cmyk[at + 3];
    for (size_t i = 0; i < 3; ++i) {
      rgb.push_back(static_cast<uint8_t>(((turn ^ cmyk[at + i]) * white + 127) / 255));
    }
  }
  return rgb;
}

}  // namespace

RawPicture decode_jpeg(std::string_view bytes, Part part) {
  Reader reader;
  if (!read_header(reader, bytes)) fail(reader);
  auto& state = reader.state;
  RawPicture picture;
  picture.height = state.image_height;
  picture.width = state.image_width;
  check_pixel_count(picture.height, picture.width, bytes.size(),
                    state.arith_code ? 64 * kMostPixelsAByte : kMostPixelsAByte);
  picture.orientation = orientation(state);
  picture.cmyk = state.num_components == 4;
  picture.channels = state.jpeg_color_space == JCS_GRAYSCALE ? 1 : 3;
  state.out_color_space = picture.cmyk ? JCS_CMYK : picture.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  if (part == Part::header) return picture;
  picture.values.resize(static_cast<size_t>(picture.height * picture.width) *
                        (picture.cmyk ? 4 : static_cast<size_t>(picture.channels)));
  if (!read_rows(reader, picture.values.data())) fail(reader);
  if (picture.cmyk) picture.values = rgb_from_cmyk(picture.values, state.saw_Adobe_marker);
  return picture;
}

}  // namespace scorenet::data
