// Work beside the program's own: its priority, its end and its errors.
#include "framework/checkpoint/background_task.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <latch>
#include <stdexcept>

namespace scorenet::checkpoint {
namespace {

int own_nice() { return ::getpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid))); }

TEST(BackgroundTask, RunsOnAThreadOfLowerPriority) {
  int of_work = -1;
  BackgroundTask task;
  const int before = own_nice();
  task.start([&] { of_work = own_nice(); });
  ASSERT_TRUE(task.wait(60));
  task.take();
  EXPECT_GE(of_work, 10);
  EXPECT_EQ(own_nice(), before);
}

TEST(BackgroundTask, IsUnderWayUntilItsEndIsTaken) {
  std::latch go(1);
  BackgroundTask task;
  EXPECT_FALSE(task.under_way());
  task.start([&] { go.wait(); });
  EXPECT_TRUE(task.under_way());
  EXPECT_FALSE(task.ended());
  EXPECT_FALSE(task.wait(0.01));
  go.count_down();
  EXPECT_TRUE(task.wait(60));
  EXPECT_TRUE(task.under_way());
  EXPECT_GT(task.seconds(), 0.0099);
  task.take();
  EXPECT_FALSE(task.under_way());
}

TEST(BackgroundTask, ThrowsWhatTheWorkThrewWhenItsEndIsTaken) {
  BackgroundTask task;
  task.start([] { throw std::runtime_error("no space"); });
  ASSERT_TRUE(task.wait(60));
  EXPECT_THROW(task.take(), std::runtime_error);
  EXPECT_FALSE(task.under_way());
}

TEST(BackgroundTask, TheDestructorWaitsUnlessTheWorkWasAbandoned) {
  auto ended = std::make_shared<std::atomic<bool>>(false);
  {
    BackgroundTask task;
    task.start([ended] {
      ::usleep(20'000);
      *ended = true;
    });
  }
  EXPECT_TRUE(*ended);
  auto go = std::make_shared<std::latch>(1);
  {
    BackgroundTask task;
    task.start([go] { go->wait(); });
    task.abandon();
  }  // would wait for ever
  go->count_down();
}

}  // namespace
}  // namespace scorenet::checkpoint
