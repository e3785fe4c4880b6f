// The times of a rank's work as a Chrome trace (chrome://tracing, Perfetto): one file a rank, which
// are merged afterwards.
#pragma once

#include <string>
#include <vector>

#include "framework/comm/flight_recorder.hpp"

namespace scorenet::perf {

enum class Track { step = 0, communication = 1, buckets = 2 };

/// A named stretch of time, in wall_seconds().
struct Span {
  std::string name;
  double start_s = 0;
  double end_s = 0;
  Track track = Track::step;
};

/// Writes spans and recorded operations (track "communication") as a JSON array, one event a line;
/// ranks are processes of the trace. Operations still under way are left out. Throws FileError
/// naming the file if it cannot be written; then there is none.
void write_timeline(const std::string& path, const comm::Place& place,
                    const std::vector<Span>& spans,
                    const std::vector<comm::FlightEntry>& operations);

/// Merges files of write_timeline. Throws DataError naming the file that cannot be read or was not
/// written by write_timeline, and FileError as write_timeline does.
void merge_timelines(const std::vector<std::string>& paths, const std::string& merged);

}  // namespace scorenet::perf
