// HDF5 trusts its own metadata. Damaged metadata can make it crash or loop without end. This guard
// then ends the process with a message.
//
// The state of the library is unknown after that, so no exception is thrown. The process prints
// one sentence that names the file and exits with code 3 at once. Under MPI the launcher then ends
// the other ranks, as after any lost rank.
#pragma once

#include <cstdint>
#include <string>

namespace scorenet::data {

/// Guards the calls that read this file, for its own lifetime. SIGSEGV, SIGFPE, SIGILL or SIGABRT
/// of this thread, or more than `seconds` of its own processor time, end the process as above.
/// Signals of other threads are handled as before. `path` must outlive this.
class LibraryGuard {
 public:
  LibraryGuard(const std::string& path, double seconds);
  ~LibraryGuard();
  LibraryGuard(const LibraryGuard&) = delete;
  LibraryGuard& operator=(const LibraryGuard&) = delete;

 private:
  const char* before_;  // of a guard around this one, which then stays the one that counts
};

/// Processor time in seconds that reading an undamaged file of `bytes` never takes: 4 MB/s, and
/// 5 s for everything else.
double most_seconds(int64_t bytes);

}  // namespace scorenet::data
