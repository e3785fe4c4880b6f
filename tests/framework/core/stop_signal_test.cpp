#include "framework/core/stop_signal.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>

namespace scorenet {
namespace {

// How a child process ends that does this: its exit code, or 128 + the signal.
int end_of(const std::function<void()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    work();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void raise_twice(int signal) {
  catch_stop_signals();
  std::raise(signal);
  std::raise(signal);
  _exit(stop_asked() ? 75 : 0);
}

TEST(StopSignal, EachOfTheFiveSetsTheFlagAndEndsNothing) {
  for (const int signal : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGHUP}) {
    forget_stop();
    catch_stop_signals();
    EXPECT_FALSE(stop_asked());
    EXPECT_NO_THROW(throw_if_stop_asked());
    std::raise(signal);
    EXPECT_TRUE(stop_asked()) << signal;
    EXPECT_THROW(throw_if_stop_asked(), StopRequested);
  }
  forget_stop();
}

TEST(StopSignal, AnyNumberOfUsrAndHupIsOneStop) {
  for (const int signal : {SIGUSR1, SIGUSR2, SIGHUP})
    EXPECT_EQ(end_of([signal] { raise_twice(signal); }), 75);
}

TEST(StopSignal, ASecondIntOrTermEndsTheProcessByThatSignal) {
  for (const int signal : {SIGINT, SIGTERM})
    EXPECT_EQ(end_of([signal] { raise_twice(signal); }), 128 + signal);
}

TEST(StopSignal, ATermAfterUsr1IsTheFirstOfItsKind) {
  // Slurm: USR1 before the limit, TERM at it. The job may still be saving.
  EXPECT_EQ(end_of([] {
              catch_stop_signals();
              std::raise(SIGUSR1);
              std::raise(SIGTERM);
              _exit(75);
            }),
            75);
}

TEST(StopSignal, WhatCameWhileBlockedIsSeenOnceCaught) {
  EXPECT_EQ(end_of([] {
              sigset_t held;
              sigemptyset(&held);
              sigaddset(&held, SIGUSR1);
              sigprocmask(SIG_BLOCK, &held, nullptr);
              std::raise(SIGUSR1);
              catch_stop_signals();
              _exit(stop_asked() ? 75 : 0);
            }),
            75);
}

TEST(StopSignal, AHangUpThatNohupIgnoresStaysIgnored) {
  EXPECT_EQ(end_of([] {
              std::signal(SIGHUP, SIG_IGN);
              catch_stop_signals();
              let_signals_end_the_process();
              std::raise(SIGHUP);
              _exit(stop_asked() ? 75 : 0);
            }),
            0);
}

TEST(StopSignal, WorkThatDoesNotLookIsEndedByTermIntAndHupButNotByUsr) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) {
    const int ended = end_of([signal] {
      catch_stop_signals();
      let_signals_end_the_process();
      std::raise(signal);
    });
    EXPECT_EQ(ended, signal == SIGUSR1 || signal == SIGUSR2 ? 0 : 128 + signal);
  }
  EXPECT_EQ(end_of([] {  // one that came before
              catch_stop_signals();
              std::raise(SIGTERM);
              let_signals_end_the_process();
            }),
            128 + SIGTERM);
}

TEST(StopSignal, AWriteToAClosedPipeFailsAndEndsNothing) {
  EXPECT_EQ(end_of([] {
              let_writes_fail();
              int ends[2];
              if (pipe(ends) != 0) _exit(1);
              close(ends[0]);
              _exit(write(ends[1], "x", 1) == -1 && errno == EPIPE ? 7 : 1);
            }),
            7);
}

}  // namespace
}  // namespace scorenet
