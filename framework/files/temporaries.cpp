#include "framework/files/temporaries.hpp"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <ctime>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/core/host_name.hpp"
#include "framework/files/atomic_file.hpp"

namespace scorenet::files {
namespace {

namespace fs = std::filesystem;

struct Writer {
  std::string target;  // the name of what was being written
  std::string host;
  pid_t process = 0;
};

// Takes "-DIGITS" off the end of `text`.
std::optional<pid_t> cut_number(std::string_view& text) {
  const size_t dash = text.rfind('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const std::string_view digits = text.substr(dash + 1);
  pid_t number = 0;
  const auto end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, number);
  if (read.ec != std::errc() || read.ptr != end || number < 0) return std::nullopt;
  text.remove_suffix(digits.size() + 1);
  return number;
}

// ".NAME.tmp-HOST-PID-COUNT"; nothing for any other name.
std::optional<Writer> writer_of(std::string_view name) {
  const size_t mark = name.rfind(kTemporaryMark);
  if (name.empty() || name[0] != '.' || mark == std::string_view::npos || mark < 1)
    return std::nullopt;
  const std::string_view target = name.substr(1, mark - 1);
  std::string_view rest = name.substr(mark + kTemporaryMark.size());
  if (!cut_number(rest)) return std::nullopt;
  const auto process = cut_number(rest);
  if (!process || rest.empty()) return std::nullopt;
  return Writer{std::string(target), std::string(rest), *process};
}

// Seconds since the epoch at which a process of this host began; 0 where the system does not tell.
double start_of(pid_t process) {
  std::ifstream stat("/proc/" + std::to_string(process) + "/stat"), uptime("/proc/uptime");
  std::string text;
  double up = 0;
  if (!std::getline(stat, text) || !(uptime >> up)) return 0;
  const size_t after_name = text.rfind(')');  // a program's name may hold anything
  if (after_name == std::string::npos) return 0;
  std::string_view rest = std::string_view(text).substr(after_name + 1);
  for (int field = 3; field < 22; ++field) {
    const size_t space = rest.find(' ', 1);
    if (space == std::string_view::npos) return 0;
    rest.remove_prefix(space);
  }
  const double ticks = std::atof(std::string(rest).c_str());
  return static_cast<double>(std::time(nullptr)) - up +
         ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// The last change of a file, or of a folder and the files in it.
std::time_t last_change(const fs::path& path) {
  struct stat status{};
  std::time_t newest = ::stat(path.c_str(), &status) == 0 ? status.st_mtime : 0;
  std::error_code missing;
  if (!S_ISDIR(status.st_mode)) return newest;
  for (const auto& entry : fs::directory_iterator(path, missing)) {
    if (::stat(entry.path().c_str(), &status) == 0) newest = std::max(newest, status.st_mtime);
  }
  return newest;
}

bool is_dead(const fs::path& path, const Writer& writer, const TemporaryRule& rule) {
  if (writer.host != host_name())
    return std::time(nullptr) - last_change(path) >= rule.foreign_age.count();
  if (rule.own_too && writer.process == ::getpid()) return true;
  if (::kill(writer.process, 0) != 0 && errno == ESRCH) return true;
  // A number is given to a new process some day, in a container soon. Clocks of disks may lag by a
  // second or two.
  constexpr double kLag = 3;
  return static_cast<double>(last_change(path)) + kLag < start_of(writer.process);
}

// names: of what was being written; null for any.
void remove_dead(const fs::path& folder, const TemporaryRule& rule,
                 const std::set<std::string>* names) {
  std::error_code ignored;
  std::vector<fs::path> dead;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const auto writer = writer_of(entry.path().filename().string());
    if (!writer || (names && !names->contains(writer->target))) continue;
    if (is_dead(entry.path(), *writer, rule)) dead.push_back(entry.path());
  }
  for (const fs::path& path : dead) fs::remove_all(path, ignored);
}

}  // namespace

void remove_dead_temporaries(const fs::path& folder, const TemporaryRule& rule) {
  remove_dead(folder, rule, nullptr);
}

void remove_dead_temporaries_of(const std::set<std::string>& names, const fs::path& folder) {
  remove_dead(folder, {}, &names);
}

}  // namespace scorenet::files
