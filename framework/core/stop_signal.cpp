#include "framework/core/stop_signal.hpp"

#include <array>
#include <csignal>

namespace scorenet {
namespace {

constexpr std::array<int, 5> kSignals = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGHUP};

// A handler can reach nothing but static storage; these flags are the process's, as
// the signals are.
volatile std::sig_atomic_t asked = 0;
volatile std::sig_atomic_t last_ending_signal =
    0;  // INT or TERM: the second of them ends the process

void remember(int signal) {
  asked = 1;
  if (signal != SIGTERM && signal != SIGINT) return;
  if (last_ending_signal != 0) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  last_ending_signal = signal;
}

bool is_ignored(int signal) {
  struct sigaction now = {};
  return sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace

void catch_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = remember;
  action.sa_flags = SA_RESTART;  // reads and writes under way go on
  sigset_t caught;
  sigemptyset(&caught);
  for (const int signal : kSignals) {
    sigaddset(&caught, signal);
    if (signal != SIGHUP || !is_ignored(signal)) sigaction(signal, &action, nullptr);
  }
  pthread_sigmask(SIG_UNBLOCK, &caught, nullptr);
}

void let_signals_end_the_process() {
  const int came = last_ending_signal;
  for (const int signal : {SIGTERM, SIGINT}) std::signal(signal, SIG_DFL);
  if (!is_ignored(SIGHUP)) std::signal(SIGHUP, SIG_DFL);
  if (came != 0) std::raise(came);
}

void let_writes_fail() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

bool stop_asked() noexcept { return asked != 0; }

void ask_to_stop() noexcept { asked = 1; }

void throw_if_stop_asked() {
  if (asked == 0) return;
  throw StopRequested(
      "stopped by a signal before the work was done; nothing was written. Run the same command "
      "again.");
}

void forget_stop() noexcept {
  asked = 0;
  last_ending_signal = 0;
}

}  // namespace scorenet
