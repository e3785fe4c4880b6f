// A zip file, byte by byte, so that every field can lie.
#pragma once

#include <optional>
#include <vector>

#include "tests/support/picture_bytes.hpp"

namespace scorenet::test {

struct ZipEntry {
  std::string name, bytes;
  bool deflate = false;
  uint16_t flags = 0;
  uint32_t wrong_crc = 0;  // xor
  bool zip64 = false;
  std::optional<uint64_t> said_size = {};
};

/// `value` in so many bytes, the lowest first.
inline std::string little_endian(uint64_t value, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i & 0xff);
  return text;
}

/// PKWARE's APPNOTE 4.3.7, 4.3.12, 4.3.16; zip64: 4.5.3.
inline std::string zip_file(const std::vector<ZipEntry>& entries) {
  const auto little = little_endian;
  std::string files, directory;
  for (const ZipEntry& e : entries) {
    const std::string stored = e.deflate ? deflated(e.bytes, -15) : e.bytes;
    const auto crc = static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(e.bytes.data()),
                                                 static_cast<uInt>(e.bytes.size())));
    const uint64_t size = e.said_size.value_or(e.bytes.size());
    const std::string extra =
        e.zip64 ? little(1, 2) + little(16, 2) + little(size, 8) + little(stored.size(), 8) : "";
    const std::string sizes =
        e.zip64 ? std::string(8, '\xff') : little(stored.size(), 4) + little(size, 4);
    const std::string head = little(e.zip64 ? 45 : 20, 2) + little(e.flags, 2) +
                             little(e.deflate ? 8 : 0, 2) + little(0, 4) +
                             little(crc ^ e.wrong_crc, 4) + sizes + little(e.name.size(), 2) +
                             little(extra.size(), 2);
    directory += "PK\x01\x02" + little(20, 2) + head + little(0, 2) + little(0, 2) + little(0, 2) +
                 little(0, 4) + little(files.size(), 4) + e.name + extra;
    files += "PK\x03\x04" + head + e.name + extra + stored;
  }
  return files + directory + "PK\x05\x06" + little(0, 4) + little(entries.size(), 2) +
         little(entries.size(), 2) + little(directory.size(), 4) + little(files.size(), 4) +
         little(0, 2);
}

}  // namespace scorenet::test
