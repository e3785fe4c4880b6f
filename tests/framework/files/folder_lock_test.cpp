#include "framework/files/folder_lock.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <regex>
#include <sstream>

#include "framework/core/host_name.hpp"
#include "framework/files/atomic_file.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::files {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class FolderLockTest : public testing::Test {
 protected:
  std::string lock_text() const {
    std::ostringstream text;
    text << std::ifstream(folder_ / "lock").rdbuf();
    return text.str();
  }
  // The lock of a job that lives and is this process, with one line changed.
  void write_lock_with(const std::string& key, const std::string& value) {
    {
      const FolderLock lock(folder_);
      kept_ = lock_text();
    }
    fs::create_directories(folder_);
    std::ofstream(folder_ / "lock") << std::regex_replace(
        kept_, std::regex("(^|\n)" + key + " [^\n]*"), "$1" + key + " " + value);
  }
  void set_age(double seconds) const {
    timespec times[2];
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= static_cast<time_t>(seconds);
    times[1] = times[0];
    utimensat(AT_FDCWD, (folder_ / "lock").c_str(), times, 0);
  }
  std::string refusal(const LockTimes& times = {}) const {
    try {
      const FolderLock lock(folder_, times);
    } catch (const FileError& e) {
      return e.what();
    }
    return "";
  }
  // A child that takes the lock, tells, and waits to be killed.
  pid_t start_holder(bool ending = false) const {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      FolderLock lock(folder_);
      if (ending) lock.announce_end();
      if (write(ends[1], "x", 1) != 1) _exit(1);
      while (!ending) pause();
      usleep(700'000);
      _exit((lock.~FolderLock(), 0));
    }
    char byte = 0;
    EXPECT_EQ(read(ends[0], &byte, 1), 1);
    return child;
  }

  const test::TemporaryFolder base_;
  fs::path folder_ = base_.path() / "run";
  std::string kept_;
};

TEST_F(FolderLockTest, TheSecondIsRefusedNamingTheFirstAndTheNextAfterItsEndIsNot) {
  {
    const FolderLock first(folder_);
    EXPECT_THAT(refusal(), AllOf(HasSubstr(folder_.string()), HasSubstr(host_name()),
                                 HasSubstr(std::to_string(getpid())), HasSubstr("since 20")));
    EXPECT_NO_THROW(first.require_held());
    // Nothing but the lock stands there.
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
  }
  EXPECT_FALSE(fs::exists(folder_)) << "it was made for the lock and is empty";
  EXPECT_EQ(refusal(), "");
}

TEST_F(FolderLockTest, AFolderThatHoldsSomethingStays) {
  {
    const FolderLock lock(folder_);
    std::ofstream(folder_ / "log.txt") << "kept";
  }
  EXPECT_TRUE(fs::exists(folder_ / "log.txt"));
  EXPECT_FALSE(fs::exists(folder_ / "lock"));
}

TEST_F(FolderLockTest, AKilledProcessLeavesNothingInTheWay) {
  const pid_t holder = start_holder();
  EXPECT_THAT(refusal(), HasSubstr("process " + std::to_string(holder)));
  kill(holder, SIGKILL);
  // A process that nobody has waited for yet is dead as well.
  siginfo_t info;
  waitid(P_PID, static_cast<id_t>(holder), &info, WEXITED | WNOWAIT);
  EXPECT_EQ(refusal(), "");
  waitpid(holder, nullptr, 0);
}

TEST_F(FolderLockTest, ANumberThatANewProcessHasGotIsNotItsOldOwner) {
  write_lock_with("started", "1");
  EXPECT_EQ(refusal(), "");
}

TEST_F(FolderLockTest, OfAnotherMachineTheSignsOfLifeDecide) {
  const LockTimes quick{0.1, 2, 1};
  for (const char* key : {"boot", "processes"}) {
    write_lock_with(key, "another");
    set_age(3600);
    EXPECT_EQ(refusal(quick), "") << "abandoned long ago: " << key;

    write_lock_with(key, "another");
    const pid_t alive = fork();
    if (alive == 0) {
      for (int i = 0; i < 100; ++i) {
        usleep(100'000);
        utimensat(AT_FDCWD, (folder_ / "lock").c_str(), nullptr, 0);
      }
      _exit(0);
    }
    EXPECT_THAT(refusal(quick), AllOf(HasSubstr("another job"), HasSubstr("remove")));
    kill(alive, SIGKILL);
    waitpid(alive, nullptr, 0);
    EXPECT_EQ(refusal(quick), "") << "it stood still while it was watched";
  }
}

TEST_F(FolderLockTest, ALockThatCannotBeReadIsAnotherMachines) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "lock") << "";
  set_age(3600);
  EXPECT_EQ(refusal(), "");
}

TEST_F(FolderLockTest, WhatSomebodyElseCalledLockIsRefusedAndStays) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "lock") << "the combination of the bicycle's\n";
  set_age(3600);
  const LockTimes short_times{.stale_s = 0.1};
  EXPECT_THAT(refusal(short_times), AllOf(HasSubstr("lock: is not a lock file of this program"),
                                          HasSubstr("Rename the file")));
  EXPECT_EQ(lock_text(), "the combination of the bicycle's\n");
  fs::remove(folder_ / "lock");
  fs::create_directories(folder_ / "lock" / "inside");
  EXPECT_THAT(refusal(short_times), HasSubstr("is not a lock file of this program"));
  EXPECT_TRUE(fs::is_directory(folder_ / "lock" / "inside"));
}

TEST_F(FolderLockTest, AJobThatIsEndingIsWaitedFor) {
  const pid_t holder = start_holder(true);
  EXPECT_EQ(refusal({5, 60, 20}), "");
  waitpid(holder, nullptr, 0);
}

TEST_F(FolderLockTest, AJobThatIsEndingTooLongIsNamed) {
  FolderLock mine(folder_);
  mine.announce_end();
  EXPECT_THAT(refusal({5, 60, 0.3}), HasSubstr("still saving"));
}

TEST_F(FolderLockTest, WhoStoodStillAndWasReplacedIsTold) {
  const FolderLock mine(folder_);
  std::ofstream(folder_ / "lock") << "host elsewhere\nprocess 7\nsince now\ntoken other\n";
  try {
    mine.require_held();
    FAIL() << "no error";
  } catch (const FileError& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("taken over"), HasSubstr("elsewhere")));
  }
}

TEST_F(FolderLockTest, ALockThatIsNotItsOwnIsLeft) {
  {
    const FolderLock mine(folder_);
    std::ofstream(folder_ / "lock") << "host elsewhere\ntoken other\n";
  }
  EXPECT_THAT(lock_text(), HasSubstr("elsewhere"));
}

TEST_F(FolderLockTest, OfManyThatStartAtOnceOneGetsIn) {
  for (const bool abandoned : {false, true}) {
    if (abandoned) write_lock_with("started", "1");
    constexpr int kJobs = 12;
    int go[2], got[2];
    ASSERT_EQ(pipe(go), 0);
    ASSERT_EQ(pipe(got), 0);
    std::vector<pid_t> children;
    for (int i = 0; i < kJobs; ++i) {
      children.push_back(fork());
      if (children.back() != 0) continue;
      char byte = 0;
      if (read(go[0], &byte, 1) != 1) _exit(2);
      try {
        FolderLock lock(folder_);
        if (write(got[1], "1", 1) != 1) _exit(2);
        for (;;) pause();
      } catch (const FileError&) {
        (void)!write(got[1], "0", 1);
        _exit(0);
      }
    }
    ASSERT_EQ(write(go[1], "xxxxxxxxxxxx", kJobs), kJobs);
    int holders = 0;
    for (int i = 0; i < kJobs; ++i) {
      char answer = 0;
      ASSERT_EQ(read(got[0], &answer, 1), 1);
      holders += answer == '1' ? 1 : 0;
    }
    EXPECT_EQ(holders, 1);
    for (const pid_t child : children) kill(child, SIGKILL);
    for (const pid_t child : children) waitpid(child, nullptr, 0);
    for (const int end : {go[0], go[1], got[0], got[1]}) close(end);
  }
}

TEST_F(FolderLockTest, AFolderThatCannotBeMadeIsNamed) {
  std::ofstream(base_.path() / "file") << "";
  folder_ = base_.path() / "file" / "run";
  EXPECT_THAT(refusal(), AllOf(HasSubstr(folder_.string()), HasSubstr("cannot be made")));
  folder_ = base_.path() / "file";
  EXPECT_THAT(refusal(), HasSubstr("cannot be made"));
}

}  // namespace
}  // namespace scorenet::files
