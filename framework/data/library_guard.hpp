// HDF5 trusts its own metadata: damaged ones can make it crash, or go round in a circle. Both end
// the process in order.
//
// Nothing that was in the library's hands can be used after that, so there is no exception: one
// sentence that names the file, and exit code 3 at once. Under MPI the launcher then ends the other
// ranks, as after any lost rank.
#pragma once

#include <cstdint>
#include <string>

namespace scorenet::data {

/// Guards the calls that read this file while it lives. SIGSEGV, SIGFPE, SIGILL or SIGABRT of this
/// thread, or more than `seconds` of its own processor time, then end the process as above. The
/// signals of other threads go where they went before. `path` must outlive this.
class LibraryGuard {
 public:
  LibraryGuard(const std::string& path, double seconds);
  ~LibraryGuard();
  LibraryGuard(const LibraryGuard&) = delete;
  LibraryGuard& operator=(const LibraryGuard&) = delete;

 private:
  const char* before_;  // of a guard around this one, which then stays the one that counts
};

/// Processor time that no sound file of so many bytes takes, at 4 MB/s and with 5 s for what
/// is not reading.
double most_seconds(int64_t bytes);

}  // namespace scorenet::data
