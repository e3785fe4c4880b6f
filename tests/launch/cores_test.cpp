// Which cores are a rank's own: the arithmetic, and over ranks that are bound in different ways.
#include "launch/cores.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <bit>
#include <thread>

#include "framework/comm/sim_communicator.hpp"

namespace scorenet::launch {
namespace {

// Cores [first, first + count).
CoreMask cores(int first, int count) {
  CoreMask mask(4);
  for (int c = first; c < first + count; ++c)
    mask[size_t(c / 64)] |= uint64_t{1} << unsigned(c % 64);
  return mask;
}

TEST(Cores, AreSharedByTheRanksThatMayUseThem) {
  // Unbound: 16 cores, 2 and 3 ranks.
  EXPECT_EQ(share_of_cores({cores(0, 16), cores(0, 16)}, 1), 8);
  EXPECT_EQ(share_of_cores({cores(0, 16), cores(0, 16), cores(0, 16)}, 1), 5);
  // Bound to a core each; to sockets of 8 cores, two ranks on one of them and one on the other.
  EXPECT_EQ(share_of_cores({cores(0, 1), cores(1, 1)}, 0), 1);
  const std::vector<CoreMask> sockets = {cores(0, 8), cores(8, 8), cores(0, 8)};
  EXPECT_EQ(share_of_cores(sockets, 0), 4);
  EXPECT_EQ(share_of_cores(sockets, 1), 8);
  // More ranks than cores; beyond the first word of a mask.
  EXPECT_EQ(share_of_cores({cores(5, 1), cores(5, 1)}, 0), 1);
  EXPECT_EQ(share_of_cores({cores(60, 72), cores(60, 72)}, 0), 36);
  // A third of three cores is one, whatever 1/3 + 1/3 + 1/3 rounds to.
  EXPECT_EQ(share_of_cores({cores(0, 3), cores(0, 3), cores(0, 3)}, 2), 1);
}

TEST(Cores, OfThisProcessAreAtLeastOneAndAtMostTheHosts) {
  int allowed = 0;
  for (const uint64_t word : allowed_cores()) allowed += std::popcount(word);
  EXPECT_GE(allowed, 1);
  EXPECT_GE(cores_without_binding(), allowed);
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  for (int c = 0; CPU_COUNT(&one) == 0; ++c)
    if (CPU_ISSET(c, &before)) CPU_SET(c, &one);
  const int64_t unbound = cores_without_binding();
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(cores_without_binding(), unbound);  // a binding does not hide what there is
  EXPECT_EQ(share_of_cores({allowed_cores()}, 0), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
  EXPECT_LE(allowed, int(std::max(1u, std::thread::hardware_concurrency())));
  const auto errors = comm::run_simulated(2, {}, [&](comm::Communicator& c) {
    EXPECT_EQ(cores_of_this_rank(c), std::max(1, allowed / 2));
  });
  EXPECT_THAT(errors, testing::Each(testing::IsEmpty()));
}

}  // namespace
}  // namespace scorenet::launch
