#include "framework/data/stored_file.hpp"

#include <setjmp.h>
#include <signal.h>
#include <sys/stat.h>

#include <atomic>

#include "framework/core/error.hpp"
#include "framework/data/address.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::data {
namespace {

[[noreturn]] void fail_shrunk(const std::string& path, const std::string& sizes) {
  throw DataError(path + ": has become shorter" + sizes +
                  " while it was being read. Make it again, and change no file that a run reads.");
}

// Where this thread goes on when a copy fails: a signal handler can be told in no other way.
thread_local sigjmp_buf* volatile way_out = nullptr;

void leave_copy(int signal) {
  if (way_out) siglongjmp(*way_out, 1);
  ::signal(signal, SIG_DFL);  // not of a copy: the instruction is tried again and ends the process
}

bool install_handler() {
  struct sigaction action{};
  action.sa_handler = leave_copy;
  action.sa_flags = SA_NODEFER;  // the handler is left by a jump, which unblocks nothing
  return ::sigaction(SIGBUS, &action, nullptr) == 0;
}

}  // namespace

StoredFile look_at_file(const std::string& path) {
  const std::string reason = files::unreadable_because(path);
  struct stat status{};
  if (!reason.empty() || ::stat(path.c_str(), &status) != 0) {
    throw DataError(path + ": " + (reason.empty() ? "cannot be inspected" : reason) +
                    ", expected a regular file. Check the path.");
  }
  return {path, static_cast<int64_t>(status.st_size), status.st_dev, status.st_ino};
}

StoredFile check_same_file(const StoredFile& file) {
  if (is_remote(file.path)) return file;  // HDF5 asks the server
  const StoredFile now = look_at_file(file.path);
  const bool same = file.inode == 0 || (now.device == file.device && now.inode == file.inode);
  if (same && now.size == file.size) return now;
  throw DataError(file.path +
                  ": another file has taken its place, or it has another size, while a "
                  "run was reading it. Put the first one back, and start again.");
}

void check_not_shrunk(const std::vector<StoredFile>& files) {
  for (const StoredFile& file : files) {
    struct stat now{};
    if (::stat(file.path.c_str(), &now) != 0) continue;
    if (now.st_dev != file.device || now.st_ino != file.inode) continue;
    if (now.st_size >= file.size) continue;
    fail_shrunk(file.path, " (" + std::to_string(now.st_size) + " bytes, " +
                               std::to_string(file.size) + " before)");
  }
}

// No object with a destructor is made between sigsetjmp and the end, so the jump skips none.
void copy_from_mapped(void* out, const void* mapped, const StridedCopy& copy,
                      const std::string& path) {
  [[maybe_unused]] static const bool installed = install_handler();
  sigjmp_buf here;
  if (sigsetjmp(here, 0) != 0) {
    way_out = nullptr;
    fail_shrunk(path, "");
  }
  // The fences keep the compiler from moving the copy out from between the two stores.
  way_out = &here;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  copy_strided(out, mapped, copy);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  way_out = nullptr;
}

}  // namespace scorenet::data
