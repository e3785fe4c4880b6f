#include "framework/data/zip_archive.hpp"

#include <zip.h>

#include <algorithm>

#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::data {
namespace {

// Deflated again, a picture hardly shrinks, and labels by a tenth. Of nothing but zeros deflate
// makes 1,032 bytes of one.
constexpr uint64_t kMostOfAByte = 200;
constexpr uint64_t kAlwaysFine = uint64_t{1} << 20;

struct CloseFile {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

std::string text_of(int code) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

}  // namespace

struct ZipArchive::Library {
  explicit Library(zip_t* archive_in) : archive(archive_in) {}
  ~Library() { zip_discard(archive); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  zip_t* archive;
};

ZipArchive::ZipArchive(const std::filesystem::path& path) : path_(path) {
  try {
    files::require_regular_file(path);
  } catch (const files::FileError& error) {
    throw DataError(error.what());
  }
  int code = 0;
  // Checked as a whole: what the end of the file says is compared with each entry's own head.
  zip_t* const archive = zip_open(path.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &code);
  if (!archive) {
    throw DataError(path.string() + ": cannot be read as a zip file (" + text_of(code) +
                    "). It is damaged, cut short or no zip file: fetch or make it again.");
  }
  library_ = std::make_unique<Library>(archive);
  const zip_int64_t entries = zip_get_num_entries(archive, 0);
  for (zip_int64_t i = 0; i < entries; ++i) {
    const char* const name = zip_get_name(archive, static_cast<zip_uint64_t>(i), ZIP_FL_ENC_GUESS);
    if (name && *name && std::string(name).back() != '/') names_.emplace_back(name);
  }
  std::sort(names_.begin(), names_.end());
}

ZipArchive::~ZipArchive() = default;

std::string ZipArchive::where(const std::string& name) const {
  return path_.string() + ", " + name;
}

std::string ZipArchive::read(const std::string& name, int64_t most) const {
  zip_t* const archive = library_->archive;
  zip_stat_t stat;
  if (zip_stat(archive, name.c_str(), ZIP_FL_ENC_GUESS, &stat) != 0 ||
      !(stat.valid & ZIP_STAT_SIZE) || !(stat.valid & ZIP_STAT_COMP_SIZE))
    throw DataError(where(name) + ": no such file in the archive. Make the archive again.");
  if ((stat.valid & ZIP_STAT_ENCRYPTION_METHOD) && stat.encryption_method != ZIP_EM_NONE)
    throw DataError(where(name) + ": is encrypted. Make the archive again without a password.");
  const bool swells = stat.size > kAlwaysFine && stat.size / kMostOfAByte > stat.comp_size;
  if (stat.size > static_cast<uint64_t>(most) || swells) {
    throw DataError(where(name) + ": " + std::to_string(stat.comp_size) + " bytes that become " +
                    std::to_string(stat.size) + ", more than " +
                    (swells ? "any picture makes of so few" : std::to_string(most)) +
                    ". Leave the entry out.");
  }
  const std::unique_ptr<zip_file_t, CloseFile> file(zip_fopen_index(archive, stat.index, 0));
  std::string bytes(stat.size, '\0');
  zip_int64_t got = file ? 0 : -1;
  size_t filled = 0;
  while (file && filled < bytes.size() &&
         (got = zip_fread(file.get(), bytes.data() + filled, bytes.size() - filled)) > 0)
    filled += static_cast<size_t>(got);
  // The end is where the checksum is compared.
  char behind = 0;
  if (got >= 0 && file) got = zip_fread(file.get(), &behind, 1);
  if (got == 0 && filled == bytes.size()) return bytes;
  const std::string reason = !file      ? zip_strerror(archive)
                             : got < 0  ? zip_file_strerror(file.get())
                             : got == 0 ? "it ends early"
                                        : "it is longer than it says";
  throw DataError(where(name) + ": cannot be unpacked (" + reason +
                  "). The archive is damaged or packed in another way than stored or deflated: "
                  "make it again.");
}

}  // namespace scorenet::data
