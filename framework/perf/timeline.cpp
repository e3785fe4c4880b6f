#include "framework/perf/timeline.hpp"

#include <array>
#include <cstdio>
#include <fstream>

#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::perf {
namespace {

std::string event(const std::string& name, int rank, Track track, double start_s, double end_s,
                  const std::string& arguments) {
  std::array<char, 160> numbers{};
  std::snprintf(numbers.data(), numbers.size(),
                "\"pid\": %d, \"tid\": %d, \"ts\": %.3f, \"dur\": %.3f", rank, int(track),
                start_s * 1e6, (end_s - start_s) * 1e6);
  return "{\"name\": " + comm::json_string(name) + ", \"ph\": \"X\", " + numbers.data() +
         arguments + "}";
}

std::string label(const char* kind, int rank, Track track, const std::string& text) {
  return std::string("{\"name\": \"") + kind +
         "\", \"ph\": \"M\", \"pid\": " + std::to_string(rank) +
         ", \"tid\": " + std::to_string(int(track)) +
         ", \"args\": {\"name\": " + comm::json_string(text) + "}}";
}

void write_events(const std::string& path, const std::vector<std::string>& events) {
  std::string text = "[\n";
  for (size_t i = 0; i < events.size(); ++i)
    text += events[i] + (i + 1 < events.size() ? ",\n" : "\n");
  files::write_file_atomically(path, text + "]\n");
}

}  // namespace

void write_timeline(const std::string& path, const comm::Place& place,
                    const std::vector<Span>& spans,
                    const std::vector<comm::FlightEntry>& operations) {
  std::vector<std::string> events{
      label("process_name", place.rank, Track::step, comm::describe(place)),
      label("thread_name", place.rank, Track::step, "step"),
      label("thread_name", place.rank, Track::communication, "communication"),
      label("thread_name", place.rank, Track::buckets, "buckets")};
  for (const Span& span : spans) {
    events.push_back(event(span.name, place.rank, span.track, span.start_s, span.end_s, ""));
  }
  for (const comm::FlightEntry& entry : operations) {
    if (entry.end_s < 0) continue;
    const comm::Operation& op = entry.operation;
    const std::string arguments = ", \"args\": {\"kind\": " + comm::json_string(name(op.kind)) +
                                  ", \"sequence\": " + std::to_string(op.sequence) +
                                  ", \"bytes\": " + std::to_string(op.bytes()) + "}";
    events.push_back(event(op.tag.empty() ? name(op.kind) : op.tag, place.rank,
                           Track::communication, entry.start_s, entry.end_s, arguments));
  }
  write_events(path, events);
}

void merge_timelines(const std::vector<std::string>& paths, const std::string& merged) {
  std::vector<std::string> events;
  for (const std::string& path : paths) {
    const std::string reason = files::unreadable_because(path);
    if (!reason.empty())
      throw DataError("timeline " + path + ": " + reason + ", expected a regular file.");
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line) || line != "[") {
      throw DataError("timeline " + path + ": cannot be read, or is no timeline of this program.");
    }
    while (std::getline(file, line) && line != "]") {
      if (!line.empty() && line.back() == ',') line.pop_back();
      events.push_back(line);
    }
    if (line != "]") throw DataError("timeline " + path + ": is cut off.");
  }
  write_events(merged, events);
}

}  // namespace scorenet::perf
