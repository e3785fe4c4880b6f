// What must happen before main, and before the libraries' own start: a function that the
// loader calls first.
//
// Stop signals are held back (blocked, so that none is lost) until main catches them: loading
// LibTorch takes a good part of a second, in which USR1 would end the process. And threads that
// wait are told not to spin, unless the user has said how they wait. Where other processes use the
// same cores, a spinning thread holds up the one it waits for; libgomp reads this from the
// environment when it is loaded, so the program starts itself once more with it.
//
// And standard streams that whoever started the program has closed get a place that takes nothing:
// else the next file to be opened, such as a log or a checkpoint, becomes standard output, and what
// is printed lands in it.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <string_view>

namespace {

constexpr std::string_view kWaitVariables[] = {
    "OMP_WAIT_POLICY=", "GOMP_SPINCOUNT=", "KMP_BLOCKTIME="};
char passive[] = "OMP_WAIT_POLICY=passive";

void hold_stop_signals_back() {
  sigset_t held;
  sigemptyset(&held);
  for (const int signal : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGHUP}) sigaddset(&held, signal);
  sigprocmask(SIG_BLOCK, &held, nullptr);
}

// For reading alone, so that a result which is printed there is lost with an error, as on a stream
// that is closed.
void occupy_closed_streams() {
  for (int stream = 0; stream <= 2; ++stream)
    if (fcntl(stream, F_GETFD) == -1 && open("/dev/null", O_RDONLY) == -1) return;
}

bool begins_with(const char* text, std::string_view beginning) {
  return std::strncmp(text, beginning.data(), beginning.size()) == 0;
}

// Returns only where it has nothing to do or cannot.
void start_again_with_passive_waits(char** arguments, char** environment) {
  static std::array<char*, 8192> extended;  // nothing may allocate yet
  size_t count = 0;
  for (char** entry = environment; *entry != nullptr; ++entry) {
    for (const std::string_view variable : kWaitVariables)
      if (begins_with(*entry, variable)) return;
    if (count + 2 >= extended.size()) return;
    extended[count++] = *entry;
  }
  extended[count] = passive;
  static std::array<char, 4096> program;
  const ssize_t length = readlink("/proc/self/exe", program.data(), program.size() - 1);
  if (length <= 0) return;
  // Started by hand through the loader, this is the loader's name.
  const char* const slash = std::strrchr(program.data(), '/');
  if (slash != nullptr && begins_with(slash + 1, "ld-")) return;
  execve(program.data(), arguments, extended.data());
}

void before_all(int, char** arguments, char** environment) {
  hold_stop_signals_back();
  occupy_closed_streams();
  start_again_with_passive_waits(arguments, environment);
}

__attribute__((section(".preinit_array"), used)) void (*const first)(int, char**,
                                                                     char**) = before_all;

}  // namespace
