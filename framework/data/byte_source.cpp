#include "framework/data/byte_source.hpp"

#include <algorithm>
#include <fstream>
#include <new>

#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::data {
namespace {

constexpr int64_t kBestRatio = 1032;  // of deflate (zlib, "Maximum compression factor")
constexpr size_t kFirstPiece = size_t{1} << 20;
constexpr size_t kMostAtOnce = size_t{1} << 30;

int64_t size_of(const std::filesystem::path& path) {
  try {
    return files::regular_file_size(path);
  } catch (const files::FileError& error) {
    throw DataError(error.what());
  }
}

bool begins_as_gzip(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return file.get() == 0x1f && file.get() == 0x8b;
}

}  // namespace

ByteSource::ByteSource(const std::filesystem::path& path) : path_(path) {
  const int64_t size = size_of(path);
  gzip_ = begins_as_gzip(path);
  most_bytes_ = gzip_ ? size * kBestRatio : size;
  file_.reset(gzopen(path.c_str(), "rb"));
  if (!file_) throw DataError(path.string() + ": cannot be opened. Check its permissions.");
}

size_t ByteSource::read(void* out, size_t count) {
  auto* bytes = static_cast<char*>(out);
  size_t done = 0;
  while (done < count) {
    const auto part = static_cast<unsigned>(std::min(count - done, kMostAtOnce));
    const int got = gzread(file_.get(), bytes + done, part);
    int code = Z_OK;
    const std::string reason = gzerror(file_.get(), &code);
    if (got < 0 || code == Z_BUF_ERROR) {
      throw DataError(path_.string() + ": damaged or cut short after " +
                      std::to_string(at_ + static_cast<int64_t>(done)) +
                      " decoded bytes (zlib: " + reason + "). Fetch the file again.");
    }
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  at_ += static_cast<int64_t>(done);
  return done;
}

std::string ByteSource::read_string(size_t count) {
  // As much memory as there is to read, not as much as is asked for: that may come from a header.
  std::string bytes;
  try {
    for (size_t got = 0, more = std::min(count, kFirstPiece); more > 0;
         more = std::min(count - bytes.size(), std::max(bytes.size(), kFirstPiece))) {
      bytes.resize(got + more);
      const size_t read_now = read(bytes.data() + got, more);
      got += read_now;
      bytes.resize(got);
      if (read_now < more) break;
    }
  } catch (const std::bad_alloc&) {
    throw DataError(path_.string() + ": " + std::to_string(count) +
                    " bytes do not fit into this machine's memory. Use a larger machine.");
  }
  return bytes;
}

bool ByteSource::at_end() {
  char byte = 0;
  return read(&byte, 1) == 0;
}

void ByteSource::rewind() {
  gzrewind(file_.get());
  at_ = 0;
}

}  // namespace scorenet::data
