#include "framework/dashboard/event_file.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "framework/core/host_name.hpp"
#include "framework/dashboard/event.hpp"

namespace scorenet::dashboard {
namespace {

constexpr const char* kPrefix = "events.out.tfevents.";

double seconds_now() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

// The largest second in the names of the folder's event files; -1: there are none.
long long newest_in(const std::filesystem::path& folder) {
  long long newest = -1;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    newest = std::max(newest, std::atoll(name.c_str() + std::string(kPrefix).size()));
  }
  return newest;
}

// Two starts within a second, or a clock that was set back, must not change the order.
std::string name_after(long long newest) {
  const long long second = std::max(static_cast<long long>(seconds_now()), newest + 1);
  char digits[32];
  std::snprintf(digits, sizeof digits, "%010lld", second);
  return kPrefix + std::string(digits) + "." + host_name() + "." + std::to_string(::getpid());
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& folder, int64_t resumed_step,
                     files::FileLayer& layer) {
  const long long newest = newest_in(folder);
  is_first_ = newest < 0;
  file_ = std::make_unique<files::OutputFile>(folder / name_after(newest), layer);
  // The first start too, as readers take back nothing at the first start that they see.
  file_->write(record(version_event(seconds_now())) +
               record(start_event(seconds_now(), resumed_step + 1)));
}

void EventFile::add(int64_t step, const std::vector<std::string>& values) {
  file_->write(record(summary_event(seconds_now(), step, values)));
}

}  // namespace scorenet::dashboard
