#include "framework/data/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "framework/core/error.hpp"

namespace scorenet::data {

MappedFile::MappedFile(const std::string& path) : path_(path), data_(MAP_FAILED) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status{};
  if (file >= 0 && ::fstat(file, &status) == 0) {
    size_ = static_cast<size_t>(status.st_size);
    data_ = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
  }
  const int reason = errno;
  if (file >= 0) ::close(file);
  if (file < 0 || data_ == MAP_FAILED) {
    throw DataError(path + ": cannot be mapped into memory (" + std::strerror(reason) +
                    "). Store it in chunks with `scorenet data rechunk`, which need no mapping.");
  }
}

MappedFile::~MappedFile() { ::munmap(data_, size_); }

}  // namespace scorenet::data
