#include "framework/train/stop_signal.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace scorenet::train {
namespace {

TEST(StopSignal, EachOfTheFourSetsTheFlagAndEndsNothing) {
  for (const int signal : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT}) {
    const StopSignal stop;
    EXPECT_EQ(stop.received(), 0);
    std::raise(signal);
    EXPECT_EQ(stop.received(), signal);
  }
}

TEST(StopSignal, AFreshOneForgetsTheLast) {
  {
    const StopSignal stop;
    std::raise(SIGUSR1);
  }
  EXPECT_EQ(StopSignal().received(), 0);
}

TEST(StopSignal, ASecondTermEndsTheProcessByThatSignal) {
  const pid_t child = fork();
  if (child == 0) {
    const StopSignal stop;
    std::raise(SIGTERM);
    std::raise(SIGTERM);
    _exit(0);  // not reached
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

TEST(StopSignal, AfterwardsTheSignalsActAsBefore) {
  const pid_t child = fork();
  if (child == 0) {
    { const StopSignal stop; }
    std::raise(SIGUSR1);
    _exit(0);  // not reached: USR1 ends a process that does not catch it
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
}

}  // namespace
}  // namespace scorenet::train
