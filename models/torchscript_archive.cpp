#include "models/torchscript_archive.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

namespace scorenet::models {
namespace {

constexpr uint32_t kLocalHeader = 0x04034b50, kEntry = 0x02014b50, kEnd = 0x06054b50,
                   kEnd64Locator = 0x07064b50, kEnd64 = 0x06064b50;
constexpr uint64_t kIn64 = 0xffffffff;  // the number stands in a 64-bit field

// Little-endian numbers of a file that may end anywhere.
class Bytes {
 public:
  explicit Bytes(const std::string& bytes) : bytes_(bytes) {}

  bool holds(uint64_t at, uint64_t count) const {
    return at <= bytes_.size() && count <= bytes_.size() - at;
  }
  // 0 beyond the end: no signature is 0.
  uint64_t number(uint64_t at, int width) const {
    if (!holds(at, static_cast<uint64_t>(width))) return 0;
    uint64_t value = 0;
    for (int i = width; i-- > 0;)
      value = value << 8 | static_cast<unsigned char>(bytes_[at + static_cast<uint64_t>(i)]);
    return value;
  }
  std::string text(uint64_t at, uint64_t count) const {
    return holds(at, count) ? bytes_.substr(at, count) : "";
  }
  const unsigned char* data(uint64_t at) const {
    return reinterpret_cast<const unsigned char*>(bytes_.data()) + at;
  }
  uint64_t size() const { return bytes_.size(); }

 private:
  const std::string& bytes_;
};

struct ZipEntry {
  std::string name;
  uint64_t method, crc, packed, whole, at;
};

// Where the table of contents begins, and how many entries it has.
struct Contents {
  uint64_t at, entries;
};
std::optional<Contents> contents_of(const Bytes& file) {
  constexpr uint64_t kEndSize = 22, kLongestComment = 65535;
  if (file.size() < kEndSize) return std::nullopt;
  uint64_t at = file.size() - kEndSize;
  const uint64_t last = at > kLongestComment ? at - kLongestComment : 0;
  while (file.number(at, 4) != kEnd) {
    if (at == last) return std::nullopt;
    --at;
  }
  Contents found{file.number(at + 16, 4), file.number(at + 10, 2)};
  if (at >= 20 && file.number(at - 20, 4) == kEnd64Locator) {
    const uint64_t at64 = file.number(at - 12, 8);
    if (file.number(at64, 4) != kEnd64) return std::nullopt;
    found = {file.number(at64 + 48, 8), file.number(at64 + 32, 8)};
  }
  return found;
}

// The 64-bit numbers of an entry stand in its extra field 1, those that do not fit elsewhere.
void read_wide(const Bytes& file, uint64_t at, uint64_t end, ZipEntry& entry) {
  while (at + 4 <= end) {
    const uint64_t kind = file.number(at, 2), size = file.number(at + 2, 2);
    if (kind == 1) {
      uint64_t field = at + 4;
      for (uint64_t* const number : {&entry.whole, &entry.packed, &entry.at}) {
        if (*number != kIn64) continue;
        *number = file.number(field, 8);
        field += 8;
      }
    }
    at += 4 + size;
  }
}

std::optional<std::vector<ZipEntry>> entries_of(const Bytes& file) {
  const auto contents = contents_of(file);
  if (!contents || contents->entries > file.size() / 46) return std::nullopt;
  std::vector<ZipEntry> entries;
  uint64_t at = contents->at;
  for (uint64_t i = 0; i < contents->entries; ++i) {
    if (file.number(at, 4) != kEntry || !file.holds(at, 46)) return std::nullopt;
    const uint64_t name = file.number(at + 28, 2), extra = file.number(at + 30, 2);
    ZipEntry entry{file.text(at + 46, name), file.number(at + 10, 2), file.number(at + 16, 4),
                   file.number(at + 20, 4),  file.number(at + 24, 4), file.number(at + 42, 4)};
    read_wide(file, at + 46 + name, at + 46 + name + extra, entry);
    entries.push_back(entry);
    at += 46 + name + extra + file.number(at + 32, 2);
  }
  return entries;
}

// The CRC-32 of what deflated bytes unfold to, if that is `whole` bytes.
std::optional<uint64_t> crc_of_deflated(const unsigned char* data, uint64_t packed,
                                        uint64_t whole) {
  constexpr int kRaw = -15;
  z_stream stream{};
  if (inflateInit2(&stream, kRaw) != Z_OK) return std::nullopt;
  stream.next_in = const_cast<Bytef*>(data);
  stream.avail_in = static_cast<uInt>(packed);
  std::array<unsigned char, 65536> piece;
  uLong crc = crc32(0, nullptr, 0);
  uint64_t done = 0;
  int state = Z_OK;
  while (state == Z_OK && done <= whole) {
    stream.next_out = piece.data();
    stream.avail_out = static_cast<uInt>(piece.size());
    state = inflate(&stream, Z_NO_FLUSH);
    const uint64_t got = piece.size() - stream.avail_out;
    crc = crc32(crc, piece.data(), static_cast<uInt>(got));
    done += got;
  }
  inflateEnd(&stream);
  if (state != Z_STREAM_END || done != whole) return std::nullopt;
  return crc;
}

uint64_t crc_of(const unsigned char* data, uint64_t size) {
  return crc32_z(crc32(0, nullptr, 0), data, size);
}

bool is_whole(const Bytes& file, const ZipEntry& entry) {
  if (file.number(entry.at, 4) != kLocalHeader) return false;
  const uint64_t at = entry.at + 30 + file.number(entry.at + 26, 2) + file.number(entry.at + 28, 2);
  if (!file.holds(at, entry.packed)) return false;
  if (entry.method == 0)
    return entry.packed == entry.whole && crc_of(file.data(at), entry.packed) == entry.crc;
  if (entry.method != 8 || entry.packed > UINT32_MAX) return false;
  return crc_of_deflated(file.data(at), entry.packed, entry.whole) == entry.crc;
}

bool has(const std::vector<ZipEntry>& entries, const std::string& name) {
  return std::any_of(entries.begin(), entries.end(),
                     [&name](const ZipEntry& entry) { return entry.name.ends_with(name); });
}

}  // namespace

std::string no_torchscript_because(const std::string& bytes) {
  if (bytes.empty()) return "is empty, expected a TorchScript archive.";
  if (bytes.starts_with("\x80")) {
    return "is a pickle (torch.save of an old PyTorch), which holds weights and no network.";
  }
  if (!bytes.starts_with("PK\x03\x04"))
    return "is no zip archive, and every TorchScript file is one.";
  const Bytes file(bytes);
  const auto entries = entries_of(file);
  if (!entries) return "ends in the middle of the archive. The file was cut off; copy it again.";
  for (const ZipEntry& entry : *entries) {
    if (!is_whole(file, entry))
      return "is damaged in its part " + entry.name + " (CRC-32). Copy it again.";
  }
  if (has(*entries, "/constants.pkl")) return "";
  if (has(*entries, "/data.pkl")) {
    return "is a file of torch.save, which holds weights or a Python object and no network that "
           "runs without Python.";
  }
  return "is a zip archive, but not one of TorchScript.";
}

}  // namespace scorenet::models
