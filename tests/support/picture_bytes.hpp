// The bytes that file formats of pictures and arrays are made of.
#pragma once

#include <cstdio>
// jpeglib.h uses FILE without including what defines it.
#include <jpeglib.h>
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>

namespace scorenet::test {

/// 32 bits, the highest first.
inline std::string big_endian(uint64_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xff);
  return bytes;
}

/// Deflated; window_bits: zlib's, which also says what stands around it.
inline std::string deflated(const std::string& bytes, int window_bits) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// As a file that gzip wrote.
inline std::string gzipped(const std::string& bytes) { return deflated(bytes, 15 + 16); }

/// A chunk of a PNG, with its length and checksum.
inline std::string png_chunk(const std::string& type, const std::string& content) {
  const std::string summed = type + content;
  return big_endian(content.size()) + summed +
         big_endian(crc32(0, reinterpret_cast<const Bytef*>(summed.data()),
                          static_cast<uInt>(summed.size())));
}

/// A PNG. header: the 13 bytes of IHDR; rows: each with its filter's byte before it; extra: chunks
/// before the pixels.
inline std::string png_file(const std::string& header, const std::string& rows,
                            const std::string& extra) {
  uLongf size = compressBound(rows.size());
  std::string packed(size, '\0');
  compress(reinterpret_cast<Bytef*>(packed.data()), &size,
           reinterpret_cast<const Bytef*>(rows.data()), rows.size());
  packed.resize(size);
  return "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header) + extra + png_chunk("IDAT", packed) +
         png_chunk("IEND", "");
}

/// A PNG whose chunks were changed, with checksums that fit again: the decoder looks behind them.
inline std::string with_checksums(const std::string& damaged) {
  std::string whole = damaged.substr(0, 8);
  for (size_t at = 8; at + 12 <= damaged.size();) {
    uint64_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<uint8_t>(damaged[at + i]);
    if (length > damaged.size() - at - 12) return whole + damaged.substr(at);
    whole += png_chunk(damaged.substr(at + 4, 4), damaged.substr(at + 8, length));
    at += 12 + length;
  }
  return whole;
}

/// A JPEG of 16 x 8. set: what is asked of the encoder beyond its defaults; app1: a block of that
/// name, none if empty; row(y): 16 * components values.
inline std::string jpeg_file(int components, const std::function<void(jpeg_compress_struct&)>& set,
                             const std::string& app1,
                             const std::function<std::string(size_t y)>& row) {
  jpeg_compress_struct state{};
  jpeg_error_mgr errors{};
  state.err = jpeg_std_error(&errors);
  jpeg_create_compress(&state);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&state, &out, &size);
  state.image_width = 16;
  state.image_height = 8;
  state.input_components = components;
  state.in_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&state);
  set(state);
  jpeg_start_compress(&state, TRUE);
  if (!app1.empty()) {
    jpeg_write_marker(&state, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(app1.data()),
                      static_cast<unsigned>(app1.size()));
  }
  for (size_t y = 0; y < 8; ++y) {
    std::string values = row(y);
    auto* first = reinterpret_cast<JSAMPROW>(values.data());
    jpeg_write_scanlines(&state, &first, 1);
  }
  jpeg_finish_compress(&state);
  jpeg_destroy_compress(&state);
  const std::string bytes(reinterpret_cast<char*>(out), size);
  std::free(out);
  return bytes;
}

}  // namespace scorenet::test
