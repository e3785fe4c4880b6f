// The MPI back end over real processes. Runs at 1, 2, 3 and 4 ranks.
#include "framework/comm/mpi_communicator.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <thread>
#include <vector>

#include "framework/comm/control_vector.hpp"
#include "framework/comm/fingerprint.hpp"
#include "framework/comm/heartbeat.hpp"
#include "framework/core/error.hpp"
#include "tests/support/collectives_spec.hpp"

namespace scorenet::comm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

MpiOptions quick() {
  MpiOptions options;
  options.limits.start = 60;  // a hang of the test itself ends as an error
  return options;
}

/// In phase train, which waits 0.3 s.
std::unique_ptr<Communicator> impatient_communicator(const MpiEnvironment& environment) {
  MpiOptions options = quick();
  options.limits.train = 0.3;
  auto c = make_mpi_communicator(environment, options);
  c->set_phase(Phase::train);
  return c;
}

std::string mismatch_message(Communicator& c, const std::function<void()>& call) {
  try {
    call();
  } catch (const CommError& e) {
    return e.what();
  }
  return "no error on rank " + std::to_string(c.rank());
}

TEST(MpiCommunicator, DoesWhatEveryCommunicatorMust) {
  const MpiEnvironment environment;
  test::check_collectives(*make_mpi_communicator(environment, quick()));
}

TEST(Heartbeat, WantsALimit) {
  const MpiEnvironment environment;
  EXPECT_THAT(
      [&] { start_heartbeat(environment, std::make_shared<Vitals>(), nullptr, {.limit_s = 0}); },
      testing::ThrowsMessage<ConfigError>(HasSubstr("comm.heartbeat_limit_s = 0")));
}

TEST(MpiCommunicator, CutsTransfersThatOneCallCannotTake) {
  // Counts of MPI are int: with room for 3 elements a call, 10 elements take 4 calls and give
  // the same result.
  const MpiEnvironment environment;
  MpiOptions options = quick();
  options.chunk_elements = 3;
  const auto c = make_mpi_communicator(environment, options);
  test::check_collectives(*c);
  const int64_t n = c->size();
  std::vector<int64_t> values(10);
  std::iota(values.begin(), values.end(), c->rank());
  c->all_reduce({values.data(), 10, DataType::int64}, ReduceOp::sum, "test").wait();
  for (int64_t i = 0; i < 10; ++i) EXPECT_EQ(values[size_t(i)], n * i + n * (n - 1) / 2);

  std::vector<int64_t> part(7, c->rank());
  std::vector<int64_t> whole(size_t(7 * n));
  c->all_gather({part.data(), 7, DataType::int64}, {whole.data(), 7 * n, DataType::int64}, "test")
      .wait();
  for (int64_t i = 0; i < 7 * n; ++i) EXPECT_EQ(whole[size_t(i)], i / 7);
  for (int64_t& w : whole) w += c->rank();
  c->reduce_scatter({whole.data(), 7 * n, DataType::int64}, {part.data(), 7, DataType::int64},
                    ReduceOp::sum, "test")
      .wait();
  EXPECT_THAT(part, testing::Each(n * c->rank() + n * (n - 1) / 2));
  // Rank r sends 100 r + s + 0..6 thousandths to rank s, seven elements each.
  std::vector<double> sent(size_t(7 * n));
  std::vector<double> received(size_t(7 * n));
  for (int64_t i = 0; i < 7 * n; ++i)
    sent[size_t(i)] = 100.0 * c->rank() + double(i / 7) + 1e-3 * double(i % 7);
  c->all_to_all({sent.data(), 7 * n, DataType::float64},
                {received.data(), 7 * n, DataType::float64}, "test")
      .wait();
  for (int64_t i = 0; i < 7 * n; ++i)
    EXPECT_EQ(received[size_t(i)], 100.0 * double(i / 7) + c->rank() + 1e-3 * double(i % 7));
}

TEST(MpiCommunicator, LargeSumsGoThroughTheThreadAndOverlap) {
  // 100,000 elements, 400 kB: element i of rank r is r + i mod 7 (exact in float32).
  const MpiEnvironment environment;
  MpiOptions options = quick();
  options.chunk_elements = 30'000;
  options.threaded_bytes = 64 << 10;
  options.recorder = std::make_shared<FlightRecorder>();
  const auto c = make_mpi_communicator(environment, options);
  const int n = c->size();
  std::vector<std::vector<float>> buffers(3, std::vector<float>(100'000));
  std::vector<Work> work;
  for (auto& b : buffers) {
    for (size_t i = 0; i < b.size(); ++i) b[i] = float(c->rank() + int(i % 7));
    work.push_back(c->all_reduce({b.data(), 100'000, DataType::float32}, ReduceOp::sum, "big"));
  }
  // Small operations may be started and finished meanwhile.
  int32_t one = 1;
  c->all_reduce({&one, 1, DataType::int32}, ReduceOp::sum, "small").wait();
  EXPECT_EQ(one, n);
  for (Work& w : work) w.wait();
  for (const auto& b : buffers) {
    for (const size_t i : {size_t{0}, size_t{29'999}, size_t{30'000}, size_t{99'999}}) {
      EXPECT_EQ(b[i], float(n * (n - 1) / 2 + n * int(i % 7)));
    }
  }
  const auto entries = options.recorder->entries();
  ASSERT_EQ(entries.size(), 4u);
  for (const FlightEntry& e : entries) EXPECT_GE(e.end_s, e.start_s);
  EXPECT_EQ(entries[3].operation.tag, "small");
}

TEST(MpiCommunicator, SumsWaitedForAtOnceComeAfterThoseUnderWay) {
  // Both go over one communicator, the one on the thread and the other on the caller: out of turn
  // they would meet each other's messages. Element i of rank r is r + i mod 7.
  const MpiEnvironment environment;
  MpiOptions options = quick();
  options.threaded_bytes = 64 << 10;
  options.recorder = std::make_shared<FlightRecorder>();
  const auto c = make_mpi_communicator(environment, options);
  const int n = c->size();
  const auto values = [&](int64_t count) {
    std::vector<float> v(static_cast<size_t>(count));
    for (size_t i = 0; i < v.size(); ++i) v[i] = float(c->rank() + int(i % 7));
    return v;
  };
  for (int round = 0; round < 20; ++round) {
    auto a = values(5'000'000), b = values(100'000), small = values(10);
    Work under_way = c->all_reduce({a.data(), 5'000'000, DataType::float32}, ReduceOp::sum, "a");
    if (c->rank() == round % n) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    c->all_reduce_now({b.data(), 100'000, DataType::float32}, ReduceOp::sum, "b");
    EXPECT_TRUE(under_way.is_done());
    c->all_reduce_now({small.data(), 10, DataType::float32}, ReduceOp::max, "small");
    under_way.wait();
    for (const size_t i : {size_t{0}, size_t{99'999}}) {
      EXPECT_EQ(b[i], float(n * (n - 1) / 2 + n * int(i % 7)));
      EXPECT_EQ(a[i], b[i]);
    }
    // The last piece of 8 MiB a rank has other bounds on every rank count.
    EXPECT_EQ(a.back(), float(n * (n - 1) / 2 + n * int(4'999'999 % 7)));
    EXPECT_EQ(small[9], float(n - 1 + 2));
  }
  EXPECT_EQ(options.recorder->entries().size(), 60u);
}

TEST(MpiCommunicator, ASumWaitedForAtOnceGivesUpOnAMissingRank) {
  const MpiEnvironment environment;
  if (environment.size() == 1) GTEST_SKIP() << "nobody to wait for";
  const auto patient = make_mpi_communicator(environment, quick());
  const auto impatient = impatient_communicator(environment);
  std::vector<float> values(100'000);
  const Buffer buffer{values.data(), 100'000, DataType::float32};
  if (impatient->rank() == 0) {
    const auto start = Clock::now();
    EXPECT_THAT(
        mismatch_message(*impatient,
                         [&] { impatient->all_reduce_now(buffer, ReduceOp::sum, "samples"); }),
        AllOf(HasSubstr("all_reduce 0 (samples"), HasSubstr("phase train: 0.3 s")));
    EXPECT_GE(seconds_since(start), 0.3);
    EXPECT_LT(seconds_since(start), 5);
    EXPECT_THROW(impatient->all_reduce_now(buffer, ReduceOp::sum, "next"), CommError);
  }
  patient->barrier("all done").wait();
}

TEST(MpiCommunicator, DebugModePrintsMismatchedCollectivesFromBothSides) {
  const MpiEnvironment environment;
  if (environment.size() == 1) GTEST_SKIP() << "nobody to differ from";
  MpiOptions options = quick();
  options.check_collectives = true;
  test::check_collectives(*make_mpi_communicator(environment, options));
  std::vector<float> v(8);
  const auto by_kind = make_mpi_communicator(environment, options);
  EXPECT_THAT(mismatch_message(*by_kind,
                               [&] {
                                 const Buffer b{v.data(), 8, DataType::float32};
                                 if (by_kind->rank() == 1) {
                                   by_kind->broadcast(b, 0, "weights").wait();
                                 } else {
                                   by_kind->all_reduce(b, ReduceOp::sum, "gradients").wait();
                                 }
                               }),
              AllOf(HasSubstr("rank 0 does all_reduce 0 (gradients, sum of 8 float32"),
                    HasSubstr("rank 1 does broadcast 0 (weights, 8 float32")));
  const auto by_size = make_mpi_communicator(environment, options);
  EXPECT_THAT(mismatch_message(*by_size,
                               [&] {
                                 by_size
                                     ->all_reduce({v.data(), 7 + (by_size->rank() == 1 ? 1 : 0),
                                                   DataType::float32},
                                                  ReduceOp::sum, "gradients")
                                     .wait();
                               }),
              AllOf(HasSubstr("sum of 7 float32"), HasSubstr("sum of 8 float32")));
  // One rank does an extra one: the others are already at the next.
  const auto by_order = make_mpi_communicator(environment, options);
  EXPECT_THAT(mismatch_message(*by_order,
                               [&] {
                                 if (by_order->rank() == 1) by_order->barrier("evaluation").wait();
                                 by_order
                                     ->all_reduce({v.data(), 8, DataType::float32}, ReduceOp::sum,
                                                  "gradients")
                                     .wait();
                               }),
              AllOf(HasSubstr("rank 0 does all_reduce 0"),
                    HasSubstr("rank 1 does barrier 0 (evaluation)")));
}

TEST(MpiCommunicator, RefusesAChunkThatIsNoCount) {
  const MpiEnvironment environment;
  MpiOptions options = quick();
  options.chunk_elements = int64_t{1} << 31;
  EXPECT_THROW(make_mpi_communicator(environment, options), CommError);
}

TEST(MpiCommunicator, AMissingRankIsAnErrorWithinTheLimitOfThePhase) {
  const MpiEnvironment environment;
  if (environment.size() == 1) GTEST_SKIP() << "nobody to wait for";
  const auto patient = make_mpi_communicator(environment, quick());
  const auto impatient = impatient_communicator(environment);
  std::vector<float> values(1000);
  const Buffer buffer{values.data(), 1000, DataType::float32};
  if (impatient->rank() == 0) {
    const auto start = Clock::now();
    auto work = impatient->all_reduce(buffer, ReduceOp::sum, "gradient bucket 2");
    try {
      work.wait();
      FAIL() << "no error";
    } catch (const CommError& e) {
      EXPECT_THAT(e.what(),
                  AllOf(HasSubstr("all_reduce 0 (gradient bucket 2"), HasSubstr("3.9 KiB"),
                        HasSubstr("rank 0 of"), HasSubstr("phase train: 0.3 s")));
    }
    EXPECT_GE(seconds_since(start), 0.3);
    EXPECT_LT(seconds_since(start), 5);
    // After one failure nothing is waited for again.
    EXPECT_THROW(impatient->barrier("next").wait(), CommError);
    EXPECT_LT(seconds_since(start), 5);
  }
  patient->barrier("all done").wait();
  if (impatient->rank() != 0) {
    // Catch up, so that no message is left when MPI ends.
    auto late = impatient->all_reduce(buffer, ReduceOp::sum, "late");
    try {
      late.wait();
    } catch (const CommError&) {
    }
  }
  patient->barrier("really done").wait();
}

TEST(MpiCommunicator, ALateRankIsWaitedForInThePhasesThatAllowIt) {
  // Rank zero evaluates for longer than the limit of training; the others wait in the
  // phase `evaluate`.
  const MpiEnvironment environment;
  MpiOptions options = quick();
  options.limits.train = 0.1;
  options.limits.evaluate = 60;
  const auto c = make_mpi_communicator(environment, options);
  c->set_phase(Phase::evaluate);
  if (c->rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(700));
  EXPECT_NO_THROW(c->barrier("end of evaluation").wait());
}

TEST(ControlVectorOverMpi, OneAllReduceTellsAllRanksSumsFlagsAndEachRanksNumbers) {
  const MpiEnvironment environment;
  const auto c = make_mpi_communicator(environment, quick());
  const int n = c->size();
  ControlVector v({{"loss", ControlField::Kind::sum},
                   {"not finite", ControlField::Kind::flag},
                   {"seconds", ControlField::Kind::gather}},
                  c->rank(), n);
  v.add("loss", 0.5 + c->rank());
  if (c->rank() == n - 1) v.raise("not finite");
  v.set("seconds", 2.0 * c->rank());
  v.exchange(*c).wait();
  EXPECT_EQ(v.sum("loss"), 0.5 * n + n * (n - 1) / 2.0);
  EXPECT_THAT(v.raised_by("not finite"), testing::ElementsAre(n - 1));
  for (int r = 0; r < n; ++r) EXPECT_EQ(v.per_rank("seconds")[size_t(r)], 2.0 * r);
}

TEST(FingerprintOverMpi, ADifferenceIsNamedOnEveryRank) {
  const MpiEnvironment environment;
  const auto c = make_mpi_communicator(environment, quick());
  EXPECT_NO_THROW(check_same_on_all_ranks(*c, {{"seed", "1"}, {"train.batch_size", "64"}}));
  if (c->size() == 1) return;
  const std::string mine = c->rank() == c->size() - 1 ? "128" : "64";
  try {
    check_same_on_all_ranks(*c, {{"seed", "1"}, {"train.batch_size", mine}});
    ADD_FAILURE() << "no error";
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("train.batch_size = 64 on rank 0 and 128 on rank " +
                                          std::to_string(c->size() - 1)),
                                HasSubstr("1 of " + std::to_string(c->size()))));
  }
}

}  // namespace
}  // namespace scorenet::comm
