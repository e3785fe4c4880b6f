// Entries of a zip file, by libzip: stored and deflated ones, zip64, checked by their CRC-32.
//
// A stranger's file may lie: no entry is longer than it says, than its bytes can hold, or than the
// caller allows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace scorenet::data {

class ZipArchive {
 public:
  /// Throws DataError: missing, no zip file, cut short, or a name stands twice.
  explicit ZipArchive(const std::filesystem::path& path);
  ~ZipArchive();
  ZipArchive(const ZipArchive&) = delete;
  ZipArchive& operator=(const ZipArchive&) = delete;

  /// The names of its files, sorted; folders are left out.
  const std::vector<std::string>& names() const { return names_; }
  /// The bytes of a file, `most` at most. Throws DataError naming archive and entry: absent,
  /// encrypted, of an unknown method, damaged, or larger than it may be.
  std::string read(const std::string& name, int64_t most) const;
  /// "FILE.zip, NAME", to begin a message.
  std::string where(const std::string& name) const;

 private:
  struct Library;
  std::filesystem::path path_;
  std::unique_ptr<Library> library_;
  std::vector<std::string> names_;
};

}  // namespace scorenet::data
