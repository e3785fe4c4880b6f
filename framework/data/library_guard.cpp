#include "framework/data/library_guard.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "framework/core/error.hpp"

namespace scorenet::data {
namespace {

constexpr std::array<int, 4> kCrashes = {SIGSEGV, SIGFPE, SIGILL, SIGABRT};

// The file in the library's hands on this thread; null outside. A signal handler can be told in
// no other way.
thread_local const char* volatile guarded = nullptr;

std::array<struct sigaction, kCrashes.size()> before{};

int clock_signal() { return SIGRTMIN + 7; }

void say(const char* text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, std::strlen(text));
}

// Signal-safe alone: the heap may be in any state.
[[noreturn]] void end_process(const char* what) {
  say(guarded);
  say(what);
  ::_exit(static_cast<int>(ExitCode::data));
}

void on_crash(int signal, siginfo_t* cause, void*) {
  if (guarded != nullptr)
    end_process(
        ": the HDF5 library crashed while reading it. The file is damaged: compare it with the "
        "original, or make it again.\n");
  for (size_t i = 0; i < kCrashes.size(); ++i)
    if (kCrashes[i] == signal) ::sigaction(signal, &before[i], nullptr);
  // Not the library's: whoever stood here before meets the instruction that is tried again, or
  // the signal that was sent.
  if (cause->si_code <= 0) ::raise(signal);
}

void on_clock(int) {
  if (guarded == nullptr) return;  // came just after the call
  end_process(
      ": the HDF5 library did not finish reading it. The file is damaged: compare it with the "
      "original, or make it again.\n");
}

bool install() {
  struct sigaction action{};
  sigemptyset(&action.sa_mask);
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_ONSTACK | SA_NODEFER | SA_SIGINFO;
  for (size_t i = 0; i < kCrashes.size(); ++i) ::sigaction(kCrashes[i], &action, &before[i]);
  action.sa_handler = on_clock;
  action.sa_flags = SA_ONSTACK | SA_RESTART;
  return ::sigaction(clock_signal(), &action, nullptr) == 0;
}

// A stack for the handlers, since an endless recursion leaves none; and a clock of this
// thread's own work.
class ThreadTools {
 public:
  ThreadTools() {
    stack_t stack{};
    stack_t old{};
    if (::sigaltstack(nullptr, &old) == 0 && (old.ss_flags & SS_DISABLE) != 0) {
      stack.ss_sp = memory_.data();
      stack.ss_size = memory_.size();
      own_stack_ = ::sigaltstack(&stack, nullptr) == 0;
    }
  }
  ~ThreadTools() {
    if (owner_ == ::getpid()) ::timer_delete(clock_);
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    if (own_stack_) ::sigaltstack(&none, nullptr);
  }
  ThreadTools(const ThreadTools&) = delete;
  ThreadTools& operator=(const ThreadTools&) = delete;

  /// 0: stops it.
  void ring_after(double seconds) {
    if (owner_ != ::getpid() && !make_clock()) return;
    itimerspec time{};
    time.it_value.tv_sec = static_cast<time_t>(seconds);
    ::timer_settime(clock_, 0, &time, nullptr);
  }

 private:
  // A forked process has none of its parent's.
  bool make_clock() {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = clock_signal();
    event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
    if (::timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &clock_) != 0) return false;
    owner_ = ::getpid();
    return true;
  }

  std::array<char, size_t{1} << 16> memory_{};
  bool own_stack_ = false;
  pid_t owner_ = 0;  // of the clock
  timer_t clock_{};
};

ThreadTools& tools() {
  static thread_local ThreadTools of_this_thread;
  return of_this_thread;
}

}  // namespace

LibraryGuard::LibraryGuard(const std::string& path, double seconds) : before_(guarded) {
  [[maybe_unused]] static const bool installed = install();
  if (before_ != nullptr) return;
  tools().ring_after(seconds);
  guarded = path.c_str();
}

LibraryGuard::~LibraryGuard() {
  if (before_ != nullptr) return;
  guarded = nullptr;
  tools().ring_after(0);
}

double most_seconds(int64_t bytes) { return 5 + static_cast<double>(bytes) / 4e6; }

}  // namespace scorenet::data
