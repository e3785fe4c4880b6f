// The simulated back end and the single one: same collectives, timed by a model, failing on demand.
#include "framework/comm/sim_communicator.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "framework/comm/single_communicator.hpp"
#include "framework/core/error.hpp"
#include "tests/support/collectives_spec.hpp"

namespace scorenet::comm {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

Buffer floats(std::vector<float>& values) {
  return {values.data(), int64_t(values.size()), DataType::float32};
}

TEST(SingleCommunicator, DoesWhatEveryCommunicatorMust) {
  test::check_collectives(*make_single_communicator());
}

TEST(SimCommunicator, DoesWhatEveryCommunicatorMust) {
  for (const int ranks : {1, 2, 3, 4, 7}) {
    EXPECT_THAT(run_simulated(ranks, {}, test::check_collectives), Each(IsEmpty()));
  }
}

TEST(SimCommunicator, ChargesTheRingsCost) {
  SimOptions options;
  options.latency_s = 1e-3;
  options.bandwidth_bytes_per_s = 1e6;
  // Ring on 4 ranks, 8000 bytes: 2 * 3 * 1 ms + 2 * 3/4 * 8 ms = 18 ms; half of it is
  // a reduce-scatter.
  EXPECT_DOUBLE_EQ(sim_seconds(options, Collective::all_reduce, 4, 8000), 18e-3);
  EXPECT_DOUBLE_EQ(sim_seconds(options, Collective::reduce_scatter, 4, 8000), 9e-3);
  EXPECT_DOUBLE_EQ(sim_seconds(options, Collective::all_gather, 4, 8000), 9e-3);
  // Binomial tree: ceil(log2 5) = 3 latencies; a barrier goes up and down again.
  EXPECT_DOUBLE_EQ(sim_seconds(options, Collective::broadcast, 5, 8000), 3e-3 + 8e-3);
  EXPECT_DOUBLE_EQ(sim_seconds(options, Collective::barrier, 5, 0), 6e-3);
  EXPECT_EQ(sim_seconds(options, Collective::all_reduce, 1, 8000), 0);
}

TEST(SimCommunicator, OperationsQueueOnTheLinkAndHideBehindWork) {
  // Three all-reduces of 20 ms each on one link end 60 ms after the first; 50 ms of other work
  // meanwhile is hidden.
  SimOptions options;
  options.latency_s = 10e-3;
  std::vector<double> total(2);
  const auto errors = run_simulated(2, options, [&](Communicator& c) {
    std::vector<float> v(3);
    const auto start = Clock::now();
    auto a = c.all_reduce({&v[0], 1}, ReduceOp::sum, "a");
    auto b = c.all_reduce({&v[1], 1}, ReduceOp::sum, "b");
    auto d = c.all_reduce({&v[2], 1}, ReduceOp::sum, "d");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_FALSE(d.is_done());
    a.wait();
    b.wait();
    d.wait();
    total[size_t(c.rank())] = seconds_since(start);
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
  for (const double t : total) {
    EXPECT_GE(t, 60e-3);
    EXPECT_LT(t, 110e-3);  // 60 + 50 if nothing were hidden; the margin is for a busy machine
  }
}

TEST(SimCommunicator, ResultsArriveAtWaitAndNotBefore) {
  run_simulated(2, {}, [](Communicator& c) {
    std::vector<float> v{1};
    auto work = c.all_reduce(floats(v), ReduceOp::sum, "a");
    EXPECT_EQ(v[0], 1);
    work.wait();
    EXPECT_EQ(v[0], 2);
  });
}

TEST(SimCommunicator, AnInjectedFailureNamesOperationAndRank) {
  SimOptions options;
  options.limits.start = 0.2;
  options.faults = {{SimFault::Kind::fail, 1, 2}};
  const auto errors = run_simulated(3, options, [](Communicator& c) {
    for (int i = 0; i < 5; ++i) c.barrier("step").wait();
  });
  EXPECT_THAT(errors[1], AllOf(HasSubstr("barrier 2 (step)"), HasSubstr("rank 1 of 3"),
                               HasSubstr("injected failure")));
  EXPECT_THAT(errors[0], AllOf(HasSubstr("barrier 2 (step)"), HasSubstr("missing: rank 1.")));
}

TEST(SimCommunicator, ALostRankIsNamedByItsPeersAfterTheLimit) {
  SimOptions options;
  options.limits.train = 0.2;
  options.faults = {{SimFault::Kind::drop, 2, 0}};
  const auto errors = run_simulated(3, options, [](Communicator& c) {
    c.set_phase(Phase::train);
    std::vector<float> v{1};
    c.all_reduce(floats(v), ReduceOp::sum, "gradient bucket 0").wait();
  });
  EXPECT_THAT(errors[0], AllOf(HasSubstr("gradient bucket 0"), HasSubstr("missing: rank 2.")));
  EXPECT_EQ(errors[0].substr(errors[0].find("missing")),
            errors[1].substr(errors[1].find("missing")));
}

TEST(SimCommunicator, ADelayedRankMakesTheOthersWait) {
  SimOptions options;
  options.faults = {{SimFault::Kind::delay, 0, 0, 0.1}};
  std::vector<Clock::time_point> end(2);
  const auto start = Clock::now();
  const auto errors = run_simulated(2, options, [&](Communicator& c) {
    c.barrier("a").wait();
    end[size_t(c.rank())] = Clock::now();
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
  for (const auto e : end) EXPECT_GE(std::chrono::duration<double>(e - start).count(), 0.1);
}

TEST(SimCommunicator, MismatchedCollectivesArePrintedFromBothSides) {
  SimOptions options;
  options.limits.start = 5;
  const auto by_size = run_simulated(2, options, [](Communicator& c) {
    std::vector<float> v(size_t(3 + c.rank()));
    c.all_reduce(floats(v), ReduceOp::sum, "gradients").wait();
  });
  for (const std::string& error : by_size) {
    EXPECT_THAT(error, AllOf(HasSubstr("mismatched"), HasSubstr("sum of 3 float32"),
                             HasSubstr("sum of 4 float32")));
  }
  const auto by_kind = run_simulated(2, options, [](Communicator& c) {
    if (c.rank() == 0) {
      c.barrier("evaluation").wait();
    } else {
      std::vector<float> v(3);
      c.broadcast(floats(v), 0, "weights").wait();
    }
  });
  for (const std::string& error : by_kind) {
    EXPECT_THAT(error, AllOf(HasSubstr("barrier 0 (evaluation)"), HasSubstr("broadcast 0 (weights"),
                             HasSubstr("rank 0"), HasSubstr("rank 1")));
  }
}

TEST(SimCommunicator, NeedsARank) { EXPECT_THROW(run_simulated(0, {}, {}), CommError); }

}  // namespace
}  // namespace scorenet::comm
