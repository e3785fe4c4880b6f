#include "framework/comm/flight_recorder.hpp"

#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>

#include "framework/core/error.hpp"

namespace scorenet::comm {

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string json_string(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::array<char, 8> code{};
      std::snprintf(code.data(), code.size(), "\\u%04x", unsigned(c));
      result += code.data();
    } else {
      result += c;
    }
  }
  return result + "\"";
}

FlightRecorder::FlightRecorder(size_t capacity) : ring_(capacity) {
  if (capacity == 0) throw ConfigError("flight recorder: capacity 0 must be >= 1.");
}

int64_t FlightRecorder::start(const Operation& operation) {
  const std::lock_guard lock(mutex_);
  ring_[size_t(next_) % ring_.size()] = {next_, operation, wall_seconds(), -1};
  return next_++;
}

void FlightRecorder::finish(int64_t id) {
  const std::lock_guard lock(mutex_);
  FlightEntry& entry = ring_[size_t(id) % ring_.size()];
  if (entry.id == id) entry.end_s = wall_seconds();
}

std::vector<FlightEntry> FlightRecorder::entries() const {
  const std::lock_guard lock(mutex_);
  const auto capacity = int64_t(ring_.size());
  std::vector<FlightEntry> result;
  for (int64_t id = std::max<int64_t>(0, next_ - capacity); id < next_; ++id) {
    result.push_back(ring_[size_t(id % capacity)]);
  }
  return result;
}

void FlightRecorder::set_dump(const std::string& path, const Place& place) {
  const std::lock_guard lock(mutex_);
  path_ = path;
  place_ = place;
}

void FlightRecorder::dump() const noexcept {
  try {
    const std::vector<FlightEntry> all = entries();
    const std::lock_guard lock(mutex_);
    if (path_.empty()) return;
    std::ofstream file(path_);
    file.precision(17);
    file << "{\"rank\": " << place_.rank << ", \"size\": " << place_.size
         << ", \"host\": " << json_string(place_.host) << "}\n";
    for (const FlightEntry& e : all) {
      const Operation& op = e.operation;
      file << "{\"id\": " << e.id << ", \"kind\": " << json_string(name(op.kind))
           << ", \"sequence\": " << op.sequence << ", \"tag\": " << json_string(op.tag)
           << ", \"type\": \"" << name(op.type) << "\", \"count\": " << op.count
           << ", \"root\": " << op.root << ", \"start_s\": " << e.start_s
           << ", \"end_s\": " << e.end_s << "}\n";
    }
    if (!file.flush())
      std::fprintf(stderr, "%s: the flight record could not be written.\n", path_.c_str());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "the flight record could not be written: %s\n", e.what());
  }
}

}  // namespace scorenet::comm
