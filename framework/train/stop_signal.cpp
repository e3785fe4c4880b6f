#include "framework/train/stop_signal.hpp"

#include <array>
#include <csignal>

namespace scorenet::train {
namespace {

constexpr std::array<int, 4> kSignals = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT};

// A handler can reach nothing but static storage; this flag is the process's, as the signals are.
volatile std::sig_atomic_t received_signal = 0;

void remember(int signal) {
  const bool again = received_signal != 0;
  received_signal = signal;
  if (again && (signal == SIGTERM || signal == SIGINT)) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

}  // namespace

StopSignal::StopSignal() {
  received_signal = 0;
  struct sigaction action = {};
  action.sa_handler = remember;
  action.sa_flags = SA_RESTART;  // reads and writes under way go on
  for (const int signal : kSignals) sigaction(signal, &action, nullptr);
}

StopSignal::~StopSignal() {
  for (const int signal : kSignals) std::signal(signal, SIG_DFL);
}

int StopSignal::received() const noexcept { return received_signal; }

}  // namespace scorenet::train
