// Started under mpirun by heartbeat_test: heartbeat_program CASE, every rank in a collective
// while one misbehaves.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>

#include "framework/comm/make_communicator.hpp"
#include "framework/core/error.hpp"

namespace {

using namespace scorenet::comm;

void sleep_s(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

int run(const std::string& what) {
  CommOptions options;
  options.heartbeat_limit_s = 1.5;
  options.limits = {20, 2, 20, 20};
  Communicators c = make_communicators(options);
  c.recorder->set_dump("heartbeat_record_" + what + "_" + std::to_string(c.host->rank()),
                       {c.host->rank(), c.host->size(), "host"});
  c.host->barrier("start").wait();
  c.host->set_phase(what == "evaluate" ? Phase::evaluate : Phase::train);
  c.vitals->step = 17;
  sleep_s(0.5);  // one beat, so that the others know the step
  try {
    if (what == "freeze_one" && c.host->rank() == 1) std::raise(SIGSTOP);
    if (what == "freeze_zero" && c.host->rank() == 0) std::raise(SIGSTOP);
    if (what == "kill_one" && c.host->rank() == 1) std::raise(SIGKILL);
    // Longer than the heartbeat's limit and the limit of training: rank zero is busy, not frozen.
    if (what == "evaluate" && c.host->rank() == 0) sleep_s(4);
    // Alive but never there: the wait's deadline finds it, not the heartbeat.
    if (what == "absent_one" && c.host->rank() == 1) sleep_s(15);
    c.host->barrier("after").wait();
  } catch (const scorenet::CommError& e) {
    std::fprintf(stderr, "%s\n", e.what());
    c.host->abort(int(e.exit_code()));
  }
  std::printf("rank %d is through\n", c.host->rank());
  std::fflush(stdout);
  // The others leave, and this one does not; or it works on, for longer than the limit.
  if (what == "freeze_leaving" && c.host->rank() == 1) std::raise(SIGSTOP);
  if (what == "slow_end" && c.host->rank() == 0) sleep_s(4);
  c.heartbeat.reset();
  // No heartbeat any more; only the end of MPI is left.
  if (what == "freeze_at_end" && c.host->rank() == 1) std::raise(SIGSTOP);
  if (what == "freeze_launcher") {
    c.host->barrier("before").wait();
    if (c.host->rank() == 0) kill(getppid(), SIGSTOP);
  }
  return 0;
}

}  // namespace

int main(int, char** argv) { return run(argv[1]); }
