#include "framework/files/folder_lock.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <utility>

#include "framework/core/host_name.hpp"
#include "framework/core/utc_time.hpp"
#include "framework/files/atomic_file.hpp"

namespace scorenet::files {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What stands in a lock file, a line each: "host NAME".
using Card = std::map<std::string, std::string>;

std::string value(const Card& card, const std::string& key) {
  const auto found = card.find(key);
  return found == card.end() ? "" : found->second;
}

std::string first_line_of(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::string link_target(const fs::path& path) {
  std::error_code error;
  const auto target = fs::read_symlink(path, error);
  return error ? "" : target.string();
}

struct ProcessState {
  char state = '?';
  std::string start;  // clock ticks since the machine's start
};

// Of /proc/PID/stat; empty where there is none to see.
ProcessState state_of(const std::string& pid) {
  const std::string line = first_line_of("/proc/" + pid + "/stat");
  const size_t name_end = line.rfind(')');  // the name may hold anything
  if (name_end == std::string::npos) return {};
  std::istringstream fields(line.substr(name_end + 1));
  ProcessState result;
  fields >> result.state;
  constexpr int kStartTime = 22, kState = 3;  // proc(5)
  for (int i = kState; i < kStartTime; ++i) fields >> result.start;
  return result;
}

std::string random_token() {
  std::random_device random;
  return std::to_string(random()) + "-" + std::to_string(random());
}

Card my_card(const std::string& token, const std::string& since, const std::string& state) {
  const std::string pid = std::to_string(::getpid());
  Card card = {{"host", host_name()},
               {"process", pid},
               {"started", state_of(pid).start},
               {"boot", first_line_of("/proc/sys/kernel/random/boot_id")},
               {"processes", link_target("/proc/self/ns/pid")},
               {"since", since},
               {"state", state},
               {"token", token}};
  if (const char* job = std::getenv("SLURM_JOB_ID")) card["job"] = job;
  return card;
}

std::string text_of(const Card& card) {
  std::string text;
  for (const auto& [key, what] : card) text += key + ' ' + what + '\n';
  return text;
}

struct Seen {
  Card card;
  timespec changed{};
  bool foreign = false;  // something else of that name, which is not ours to take away
};

bool same_time(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

double seconds_between(const timespec& from, const timespec& to) {
  return static_cast<double>(to.tv_sec - from.tv_sec) +
         1e-9 * static_cast<double>(to.tv_nsec - from.tv_nsec);
}

// Opened, not only looked up: network file systems then ask the server. Nothing if there
// is no lock.
std::optional<Seen> look(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return std::nullopt;
  Seen seen;
  struct stat status{};
  std::string text(4096, '\0');
  const ssize_t length = ::read(file, text.data(), text.size());
  const bool is_seen = ::fstat(file, &status) == 0;
  if (is_seen) seen.changed = status.st_mtim;
  ::close(file);
  text.resize(static_cast<size_t>(std::max<ssize_t>(length, 0)));
  // An empty one may be about to be written (Candidate::copy_to).
  seen.foreign =
      (is_seen && !S_ISREG(status.st_mode)) || (!text.empty() && !text.starts_with("boot "));
  std::istringstream lines(text);
  for (std::string key, rest; lines >> key && std::getline(lines >> std::ws, rest);)
    seen.card[key] = rest;
  return seen;
}

bool on_this_machine(const Card& card) {
  const Card mine = my_card("", "", "");
  for (const char* key : {"boot", "processes"}) {
    if (value(card, key).empty() || value(card, key) != value(mine, key)) return false;
  }
  return true;
}

// Of a process of this machine. One that may not be looked into counts as alive.
bool is_alive(const Card& card) {
  const std::string pid = value(card, "process");
  if (::kill(static_cast<pid_t>(std::atoi(pid.c_str())), 0) != 0 && errno == ESRCH) return false;
  const ProcessState now = state_of(pid);
  if (now.state == 'Z' || now.state == 'X') return false;
  return now.start.empty() || now.start == value(card, "started");
}

std::string owner(const Card& card) {
  if (value(card, "process").empty()) return "one that the lock file does not name";
  std::string text = "host " + value(card, "host") + ", process " + value(card, "process") +
                     ", since " + value(card, "since");
  if (card.count("job")) text += ", Slurm job " + value(card, "job");
  return text;
}

// A finished lock file under a name of its own, gone with the object.
class Candidate {
 public:
  Candidate(const fs::path& lock, const Card& card) : path_(temporary_sibling(lock)) {
    try {
      OutputFile out(path_);
      out.write(text_of(card));
      out.sync_and_close();
    } catch (...) {
      ::unlink(path_.c_str());
      throw;
    }
  }
  ~Candidate() { ::unlink(path_.c_str()); }
  Candidate(const Candidate&) = delete;
  Candidate& operator=(const Candidate&) = delete;

  const fs::path& path() const { return path_; }

  // The file system's own time, by which the lock file's is judged.
  timespec time_of_file_system() const {
    struct stat status{};
    ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);
    ::stat(path_.c_str(), &status);
    return status.st_mtim;
  }

  // Whether the lock now is this file. Throws FileError where it can be no name of the folder.
  bool put_in_place(const fs::path& lock) const {
    if (::link(path_.c_str(), lock.c_str()) == 0) return true;
    const int reason = errno;
    struct stat status{};
    // Over a network the answer may be lost and the work done.
    if (::stat(path_.c_str(), &status) == 0 && status.st_nlink == 2) return true;
    if (reason == EEXIST) return false;
    if (reason == EPERM || reason == ENOTSUP || reason == ENOSYS || reason == EMLINK)
      return copy_to(lock);
    throw FileError(lock.string() + ": cannot be made: " + std::strerror(reason) +
                    ". Give a folder on a disk you may write to.");
  }

 private:
  // For file systems without hard links.
  bool copy_to(const fs::path& lock) const {
    const int file = ::open(lock.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file < 0 && errno == EEXIST) return false;
    const std::string text = read_file(path_);
    const bool written =
        file >= 0 && ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    if (file >= 0) ::close(file);
    if (written) return true;
    throw FileError(lock.string() + ": cannot be written: " + std::strerror(errno) +
                    ". Give a folder on a disk you may write to.");
  }

  fs::path path_;
};

// Takes an abandoned lock away. Two may find the same one: who then renames the other's new lock
// puts it back.
void clear_away(const fs::path& lock, const Card& abandoned) {
  const auto now = look(lock);
  if (!now || value(now->card, "token") != value(abandoned, "token")) return;
  const fs::path aside = temporary_sibling(lock);
  if (::rename(lock.c_str(), aside.c_str()) != 0) return;
  const auto moved = look(aside);
  if (moved && value(moved->card, "token") != value(abandoned, "token"))
    (void)!::link(aside.c_str(), lock.c_str());
  ::unlink(aside.c_str());
}

// Follows one lock of another until it is known what to do.
class Watch {
 public:
  Watch(fs::path lock, const LockTimes& times) : lock_(std::move(lock)), times_(times) {}

  // Returns when it is worth trying again. Throws FileError if the owner lives and goes on.
  void wait_or_refuse(const Candidate& candidate) {
    const auto seen = look(lock_);
    if (!seen) return;
    if (seen->foreign) {
      throw FileError(
          lock_.string() +
          ": is not a lock file of this program, which needs this name. Rename the file, or "
          "choose another folder.");
    }
    // Another token is another owner: the watch starts anew.
    if (!first_ || value(first_->card, "token") != value(seen->card, "token")) {
      first_ = seen;
      began_ = Clock::now();
    }
    // On this machine the process itself tells whether its lock is abandoned.
    if (on_this_machine(seen->card)) {
      if (!is_alive(seen->card)) return clear_away(lock_, seen->card);
      wait_for_living(seen->card);
      return;
    }
    // Elsewhere only the file's time tells: renewed since the first look, its owner lives.
    if (!same_time(seen->changed, first_->changed)) {
      wait_for_living(seen->card);
      return;
    }
    // Abandoned for long already, or not renewed for as long while it was watched: by either clock.
    const double age_s = seconds_between(seen->changed, candidate.time_of_file_system());
    if (age_s > times_.stale_s || seconds_since(began_) > times_.stale_s)
      return clear_away(lock_, seen->card);
    std::this_thread::sleep_for(kPause);
  }

 private:
  static constexpr auto kPause = std::chrono::milliseconds(200);

  void wait_for_living(const Card& card) const {
    const bool ending = value(card, "state") == "ending";
    if (ending && seconds_since(began_) < times_.patience_s) {
      std::this_thread::sleep_for(kPause);
      return;
    }
    std::string sentence = lock_.parent_path().string() +
                           ": another job writes into this folder (" + owner(card) +
                           (ending ? ", told to stop and still saving" : "") +
                           "). Wait until it has ended or choose another folder";
    if (!on_this_machine(card))
      sentence += "; if that process is surely gone, remove " + lock_.string();
    throw FileError(sentence + ".");
  }

  fs::path lock_;
  LockTimes times_;
  std::optional<Seen> first_;
  Clock::time_point began_;
};

}  // namespace

FolderLock::FolderLock(fs::path folder, const LockTimes& times)
    : folder_(std::move(folder)), times_(times), token_(random_token()), since_(utc_time_now()) {
  make_folder();
  acquire();
  thread_ = std::thread([this] { stay_alive(); });
}

FolderLock::~FolderLock() {
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
  }
  changed_.notify_all();
  thread_.join();
  // After a take-over the file is another job's.
  if (holder_now() == token_) ::unlink(file().c_str());
  if (made_folder_) ::rmdir(folder_.c_str());  // does nothing to a folder with files
}

void FolderLock::make_folder() {
  std::error_code error;
  made_folder_ = fs::create_directories(folder_, error);
  if (error || !fs::is_directory(folder_)) {
    throw FileError(folder_.string() + ": cannot be made (" +
                    (error ? error.message() : "it is no folder") +
                    "). Give an --outdir on a disk you may write to.");
  }
}

void FolderLock::acquire() {
  try {
    const Candidate candidate(file(), my_card(token_, since_, "running"));
    Watch watch(file(), times_);
    while (!candidate.put_in_place(file())) watch.wait_or_refuse(candidate);
  } catch (...) {
    if (made_folder_) ::rmdir(folder_.c_str());
    throw;
  }
}

std::string FolderLock::holder_now() const {
  const auto seen = look(file());
  return seen ? value(seen->card, "token") : "";
}

void FolderLock::announce_end() noexcept {
  try {
    if (holder_now() == token_)
      write_file_atomically(file(), text_of(my_card(token_, since_, "ending")));
  } catch (const std::exception&) {
    // Then a job that comes now is refused instead of waiting.
  }
}

void FolderLock::require_held() const {
  const auto seen = look(file());
  if (!seen || value(seen->card, "token") == token_) return;
  throw FileError(folder_.string() + ": taken over by another job (" + owner(seen->card) +
                  ") while this process was frozen. This process writes nothing more; the other "
                  "job continues.");
}

void FolderLock::stay_alive() {
  std::unique_lock lock(mutex_);
  const std::chrono::duration<double> period(times_.refresh_s);
  while (!changed_.wait_for(lock, period, [this] { return leaving_; })) {
    if (holder_now() == token_) ::utimensat(AT_FDCWD, file().c_str(), nullptr, 0);
  }
}

}  // namespace scorenet::files
