// One job at a time in a folder: a file FOLDER/lock that says who works there, put in place by
// link(2), which is atomic on network file systems too.
//
// The file names host, process, the process's start time, the machine's boot and its space of
// process numbers. On the same machine a lock whose process has ended is abandoned, so kill -9 or a
// crash leaves nothing to clean up. The processes of another machine cannot be seen. There the
// file's time counts: its owner renews it every `refresh_s`, and a lock that was not renewed for
// `stale_s` is abandoned. Times are compared with that of a file written beside it, so clocks may
// differ.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>

namespace scorenet::files {

/// Seconds.
struct LockTimes {
  double refresh_s = 5;    // between two renewals
  double stale_s = 60;     // without a renewal from another machine: abandoned
  double patience_s = 60;  // how long to wait for an owner that has announced its end
};

class FolderLock {
 public:
  /// Makes the folder where it is missing. Returns at once if no living job holds the lock; waits
  /// for one that has announced its end, and until it is known whether one on another machine
  /// lives. Throws FileError naming the owner (host, process, since when) if one holds it, or if
  /// the folder cannot be written.
  explicit FolderLock(std::filesystem::path folder, const LockTimes& times = {});
  /// Releases the folder. If this lock had to make the folder and it is empty, it is removed.
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  /// Tells a job that starts now to wait: this one is about to end, after it has saved.
  void announce_end() noexcept;

  /// Throws FileError if another job has taken the folder over. It may do so if this process was
  /// stopped for `stale_s`.
  void require_held() const;

  std::filesystem::path file() const { return folder_ / "lock"; }

 private:
  void make_folder();
  void acquire();
  void stay_alive();
  std::string holder_now() const;

  std::filesystem::path folder_;
  LockTimes times_;
  std::string token_;  // tells this lock from any other
  bool made_folder_ = false;
  std::string since_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool leaving_ = false;
  std::thread thread_;
};

}  // namespace scorenet::files
