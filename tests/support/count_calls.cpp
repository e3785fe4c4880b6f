// Preloaded into a program (LD_PRELOAD), counts its calls of the system about files whose name
// holds COUNT_CALLS_OF: the file COUNT_CALLS_TO.RANK then holds "LOOKS OPENS READS", where a look
// asks for a file by its name, and a seek counts as a read.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

std::atomic<long> looks, opens, reads;
std::array<std::atomic<bool>, 4096> watched;  // by file descriptor

bool is_meant(const char* path) {
  static const char* const of = std::getenv("COUNT_CALLS_OF");
  return of != nullptr && path != nullptr && std::strstr(path, of) != nullptr;
}

bool is_watched(int file) {
  return file >= 0 && file < static_cast<int>(watched.size()) && watched[file];
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

int opened(int file, const char* path) {
  if (file < 0 || file >= static_cast<int>(watched.size())) return file;
  watched[file] = is_meant(path);
  if (watched[file]) ++opens;
  return file;
}

mode_t mode_of(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? static_cast<mode_t>(va_arg(arguments, int)) : 0;
}

[[gnu::destructor]] void tell() {
  const char* const to = std::getenv("COUNT_CALLS_TO");
  const char* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (to == nullptr || rank == nullptr) return;
  if (FILE* const out = std::fopen((std::string(to) + "." + rank).c_str(), "w")) {
    std::fprintf(out, "%ld %ld %ld\n", looks.load(), opens.load(), reads.load());
    std::fclose(out);
  }
}

}  // namespace

#define COUNT_OPEN(NAME)                                                             \
  int NAME(const char* path, int flags, ...) {                                       \
    va_list arguments;                                                               \
    va_start(arguments, flags);                                                      \
    const mode_t mode = mode_of(flags, arguments);                                   \
    va_end(arguments);                                                               \
    return opened(next<int(const char*, int, ...)>(#NAME)(path, flags, mode), path); \
  }
#define COUNT_STAT(NAME, STATUS)                                        \
  int NAME(const char* path, struct STATUS* status) noexcept {          \
    if (is_meant(path)) ++looks;                                        \
    return next<int(const char*, struct STATUS*)>(#NAME)(path, status); \
  }
#define COUNT_READ(NAME, RESULT, PARAMETERS, ARGUMENTS) \
  RESULT NAME PARAMETERS {                              \
    if (is_watched(file)) ++reads;                      \
    return next<RESULT PARAMETERS>(#NAME) ARGUMENTS;    \
  }

extern "C" {
COUNT_OPEN(open)
COUNT_OPEN(open64)
COUNT_STAT(stat, stat)
COUNT_STAT(stat64, stat64)
COUNT_READ(read, ssize_t, (int file, void* out, size_t size), (file, out, size))
COUNT_READ(pread, ssize_t, (int file, void* out, size_t size, off_t at), (file, out, size, at))
COUNT_READ(pread64, ssize_t, (int file, void* out, size_t size, off64_t at), (file, out, size, at))
int close(int file) {
  if (is_watched(file)) watched[file] = false;
  return next<int(int)>("close")(file);
}
off_t lseek(int file, off_t at, int from) noexcept {
  if (is_watched(file)) ++reads;
  return next<off_t(int, off_t, int)>("lseek")(file, at, from);
}
}
