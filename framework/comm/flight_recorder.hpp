// The last operations of this rank, kept in a ring buffer. They are written to a file when
// something fails, and they make the timeline (timeline.hpp).
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "framework/comm/operation.hpp"

namespace scorenet::comm {

struct FlightEntry {
  int64_t id = 0;  // counts all operations of this recorder
  Operation operation;
  double start_s = 0;  // seconds since the epoch of the system clock, so that ranks can be compared
  double end_s = -1;   // -1: not done
};

/// Thread-safe. One a process, shared by its communicators.
class FlightRecorder {
 public:
  /// Throws ConfigError if capacity is 0.
  explicit FlightRecorder(size_t capacity = 4096);

  /// An operation has been started; returns the number for finish().
  int64_t start(const Operation& operation);
  /// It is done. Nothing happens if the entry has been overwritten meanwhile.
  void finish(int64_t id);

  /// Oldest first.
  std::vector<FlightEntry> entries() const;

  /// Where dump() writes: one JSON object a line (id, kind, sequence, tag, type, count, root,
  /// start_s, end_s), after a first line with rank, size and host. Empty: nowhere.
  void set_dump(const std::string& path, const Place& place);
  /// Called by whoever finds a failure. A file that cannot be written is reported on stderr.
  void dump() const noexcept;

 private:
  mutable std::mutex mutex_;
  std::vector<FlightEntry> ring_;
  int64_t next_ = 0;
  std::string path_;
  Place place_;
};

/// Seconds since 1970 of the system clock.
double wall_seconds();

/// `text` with quotes, backslashes and control characters escaped, in quotes.
std::string json_string(const std::string& text);

}  // namespace scorenet::comm
