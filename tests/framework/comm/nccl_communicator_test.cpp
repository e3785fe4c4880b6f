// The NCCL back end without a GPU, over the fake NCCL and CUDA runtime of tests/support/fakes.
// Ranks are threads whose bootstrap is the simulated communicator.
#include "framework/comm/nccl_communicator.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <thread>

#include "framework/comm/sim_communicator.hpp"
#include "framework/core/error.hpp"
#include "tests/support/collectives_spec.hpp"
#include "tests/support/fakes/fake_gpu.hpp"

namespace scorenet::comm {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

NcclOptions quick(double limit_s = 10) {
  NcclOptions options;
  options.limits = {limit_s, limit_s, limit_s, limit_s};
  return options;
}

TEST(NcclCommunicator, DoesWhatEveryCommunicatorMust) {
  for (const int ranks : {1, 2, 3, 4}) {
    fake_gpu::reset({.delay_s = 2e-4});
    EXPECT_THAT(
        run_simulated(ranks, {},
                      [](Communicator& bootstrap) {
                        test::check_collectives(*make_nccl_communicator(bootstrap, quick()));
                      }),
        Each(IsEmpty()));
    EXPECT_THAT(fake_gpu::violations(), IsEmpty());
    EXPECT_EQ(fake_gpu::destroyed(), ranks);
    EXPECT_EQ(fake_gpu::aborted(), 0);
  }
}

TEST(NcclCommunicator, TakesTheBuffersAsTheComputeStreamLeavesThem) {
  // The kernel that fills the buffer ends 20 ms after all_reduce() was called: its values must be
  // in the sum, and nothing may be sent before.
  fake_gpu::reset({});
  const auto errors = run_simulated(3, {}, [](Communicator& bootstrap) {
    cudaStream_t compute = nullptr;
    cudaStreamCreateWithFlags(&compute, 0);
    {
      NcclOptions options = quick();
      options.compute_stream = [&] { return compute; };
      const auto c = make_nccl_communicator(bootstrap, options);
      std::vector<float> v(100, -1);
      fake_gpu::launch(compute, [&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        std::fill(v.begin(), v.end(), float(c->rank()));
      });
      auto work =
          c->all_reduce({v.data(), 100, DataType::float32}, ReduceOp::sum, "gradient bucket 0");
      EXPECT_FALSE(work.is_done());
      work.wait();
      EXPECT_THAT(v, Each(3.0f));  // 0 + 1 + 2
    }
    fake_gpu::synchronize(compute);
    cudaStreamDestroy(compute);
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
  EXPECT_THAT(fake_gpu::violations(), IsEmpty());
}

TEST(NcclCommunicator, AJoinedComputeStreamGoesOnAfterTheSumAndTheHostAtOnce) {
  fake_gpu::reset({.delay_s = 20e-3});
  const auto errors = run_simulated(2, {}, [](Communicator& bootstrap) {
    cudaStream_t compute = nullptr;
    cudaStreamCreateWithFlags(&compute, 0);
    {
      NcclOptions options = quick();
      options.compute_stream = [&] { return compute; };
      const auto c = make_nccl_communicator(bootstrap, options);
      std::vector<float> v(100, 1.0f), copy(100, 0.0f);
      auto work = c->all_reduce({v.data(), 100, DataType::float32}, ReduceOp::sum, "joined");
      work.join();
      EXPECT_FALSE(work.is_done());  // the host is here while the sum is under way
      fake_gpu::launch(compute, [&] { copy = v; });
      fake_gpu::synchronize(compute);
      EXPECT_THAT(copy, Each(2.0f));
      work.wait();
    }
    cudaStreamDestroy(compute);
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
  EXPECT_THAT(fake_gpu::violations(), IsEmpty());
}

TEST(NcclCommunicator, ItsMemoryIsRegisteredAndGivenBackBeforeItself) {
  fake_gpu::reset({});
  const auto errors = run_simulated(2, {}, [](Communicator& bootstrap) {
    const auto c = make_nccl_communicator(bootstrap, quick());
    const std::shared_ptr<void> memory = c->allocate(100 * sizeof(float));
    ASSERT_NE(memory, nullptr);
    auto* const v = static_cast<float*>(memory.get());
    std::fill(v, v + 100, 1.0f);
    c->all_reduce({v, 100, DataType::float32}, ReduceOp::sum, "registered").wait();
    EXPECT_EQ(v[99], 2.0f);
    EXPECT_GE(fake_gpu::registered(), 1);
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
  EXPECT_THAT(fake_gpu::violations(), IsEmpty());
  EXPECT_EQ(fake_gpu::registered(), 0);
  EXPECT_EQ(fake_gpu::allocated(), 0);
}

// Weights may be freed after everything else.
TEST(NcclCommunicator, MemoryThatOutlivesItIsFreedWithoutIt) {
  fake_gpu::reset({});
  const auto errors = run_simulated(2, {}, [](Communicator& bootstrap) {
    std::shared_ptr<void> memory;
    {
      const auto c = make_nccl_communicator(bootstrap, quick());
      memory = c->allocate(16);
    }
    EXPECT_GE(fake_gpu::allocated(), 1);
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
  EXPECT_THAT(fake_gpu::violations(), IsEmpty());
  EXPECT_EQ(fake_gpu::allocated(), 0);
}

// A kernel that hangs may be in it, and to free it would wait for that kernel.
TEST(NcclCommunicator, MemoryOfAFailedCommunicatorIsLeftToTheEndOfTheProcess) {
  fake_gpu::reset({.silent_rank = 1});
  const auto errors = run_simulated(2, {}, [](Communicator& bootstrap) {
    const auto c = make_nccl_communicator(bootstrap, quick(0.3));
    const std::shared_ptr<void> memory = c->allocate(16);
    c->all_reduce({memory.get(), 4, DataType::float32}, ReduceOp::sum, "gradient bucket 0").wait();
  });
  EXPECT_THAT(errors, Each(HasSubstr("not done after")));
  EXPECT_EQ(fake_gpu::aborted(), 2);
  EXPECT_EQ(fake_gpu::allocated(), 2);
  fake_gpu::reset({});
}

TEST(NcclCommunicator, TheFakeSeesABufferThatIsTouchedTooEarly) {
  // A test of the test tool: the program writes into a bucket that is still under way.
  fake_gpu::reset({.delay_s = 20e-3});
  run_simulated(2, {}, [](Communicator& bootstrap) {
    const auto c = make_nccl_communicator(bootstrap, quick());
    std::vector<float> v(10, 1);
    auto work = c->all_reduce({v.data(), 10, DataType::float32}, ReduceOp::sum, "a");
    for (int i = 0; i < 200 && !work.is_done(); ++i) {
      v[0] += 1;
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
    work.wait();
  });
  EXPECT_THAT(fake_gpu::violations(), testing::Contains(HasSubstr("touched before completion")));
}

TEST(NcclCommunicator, AnAsynchronousErrorNamesTheOperationAndAborts) {
  fake_gpu::reset({.failing_rank = 1, .failing_call = 2});
  const auto errors = run_simulated(2, {}, [](Communicator& bootstrap) {
    const auto c = make_nccl_communicator(bootstrap, quick(0.5));
    for (int i = 0; i < 4; ++i) c->barrier("step " + std::to_string(i)).wait();
  });
  EXPECT_THAT(errors[1], AllOf(HasSubstr("barrier 2 (step 2)"), HasSubstr("rank 1 of 2"),
                               HasSubstr("unhandled system error"), HasSubstr("NCCL_DEBUG=INFO")));
  EXPECT_THAT(errors[0], AllOf(HasSubstr("barrier 2 (step 2)"), HasSubstr("not done after")));
  EXPECT_EQ(fake_gpu::aborted(), 2);
  EXPECT_EQ(fake_gpu::destroyed(), 0);
  EXPECT_THAT(fake_gpu::violations(), IsEmpty());
}

TEST(NcclCommunicator, ALostRankIsAnErrorWithinTheLimitAndNoHang) {
  fake_gpu::reset({.silent_rank = 2});
  const auto start = Clock::now();
  const auto errors = run_simulated(3, {}, [](Communicator& bootstrap) {
    const auto c = make_nccl_communicator(bootstrap, quick(0.5));
    c->set_phase(Phase::train);
    std::vector<float> v(10);
    c->all_reduce({v.data(), 10, DataType::float32}, ReduceOp::sum, "gradient bucket 3").wait();
  });
  EXPECT_LT(seconds_since(start), 5);
  EXPECT_THAT(errors[0], AllOf(HasSubstr("gradient bucket 3"), HasSubstr("phase train")));
  EXPECT_EQ(fake_gpu::aborted(), 3);
}

TEST(NcclCommunicator, CreationThatNeverEndsIsAnError) {
  fake_gpu::reset({.init_never_ends = true});
  const auto errors = run_simulated(
      2, {}, [](Communicator& bootstrap) { make_nccl_communicator(bootstrap, quick(0.3)); });
  EXPECT_THAT(errors, Each(AllOf(HasSubstr("ncclCommInitRankConfig"),
                                 HasSubstr("no progress within 0.3"))));
  EXPECT_EQ(fake_gpu::aborted(), 2);
}

TEST(NcclCommunicator, AnExceptionOnTheWayOutAbortsInsteadOfFinalising) {
  // Finalising waits for the peers, who may never come.
  fake_gpu::reset({});
  const auto errors = run_simulated(2, {}, [](Communicator& bootstrap) {
    const auto c = make_nccl_communicator(bootstrap, quick());
    throw DataError("the disk is gone");
  });
  EXPECT_THAT(errors, Each(HasSubstr("the disk is gone")));
  EXPECT_EQ(fake_gpu::aborted(), 2);
  EXPECT_EQ(fake_gpu::destroyed(), 0);
}

TEST(NcclCommunicator, AfterAFailureNothingIsStarted) {
  fake_gpu::reset({.failing_rank = 0, .failing_call = 0});
  run_simulated(1, {}, [](Communicator& bootstrap) {
    const auto c = make_nccl_communicator(bootstrap, quick());
    EXPECT_THROW(c->barrier("a").wait(), CommError);
    EXPECT_THROW(c->barrier("b"), CommError);
  });
  EXPECT_THAT(fake_gpu::violations(), IsEmpty());
}

TEST(NcclCommunicator, DevicesAreCheckedBeforeNcclIsAsked) {
  const auto create = [](Communicator& bootstrap) { make_nccl_communicator(bootstrap, quick()); };
  fake_gpu::reset({.devices = 2});
  EXPECT_THAT(run_simulated(3, {}, create),
              Each(AllOf(HasSubstr("3 ranks"), HasSubstr("2 visible"))));
  fake_gpu::reset({.devices = 0});
  EXPECT_THAT(run_simulated(1, {}, create), Each(HasSubstr("no CUDA device")));
  fake_gpu::reset({.same_device = true});
  EXPECT_THAT(
      run_simulated(2, {}, create),
      Each(AllOf(HasSubstr("ranks 0 and 1 use the same CUDA device"), HasSubstr("0000:00:00.0"))));
  fake_gpu::reset({.version = 20000});
  EXPECT_THAT(run_simulated(1, {}, create), Each(AllOf(HasSubstr("20000"), HasSubstr("22809"))));
}

TEST(NcclCommunicator, AnExchangeIsOneGroupAndWaitsForTheComputeStream) {
  fake_gpu::reset({.delay_s = 1e-3});
  const auto errors = run_simulated(4, {}, [](Communicator& bootstrap) {
    cudaStream_t compute = nullptr;
    cudaStreamCreateWithFlags(&compute, 0);
    {
      NcclOptions options = quick();
      options.compute_stream = [&] { return compute; };
      const auto c = make_nccl_communicator(bootstrap, options);
      std::vector<float> out(8, -1), in(8);
      fake_gpu::launch(compute, [&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        for (size_t i = 0; i < 8; ++i) out[i] = float(10 * c->rank()) + float(i / 2);
      });
      auto work = c->all_to_all({out.data(), 8, DataType::float32},
                                {in.data(), 8, DataType::float32}, "parts");
      // Others may be started meanwhile; the stream takes them in order.
      auto sum = c->all_reduce({out.data(), 0, DataType::float32}, ReduceOp::sum, "nothing");
      work.wait();
      sum.wait();
      for (size_t i = 0; i < 8; ++i) EXPECT_EQ(in[i], float(10 * (i / 2)) + float(c->rank()));
    }
    fake_gpu::synchronize(compute);
    cudaStreamDestroy(compute);
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
  EXPECT_THAT(fake_gpu::violations(), IsEmpty());
}

TEST(NcclCommunicator, AnErrorInAGroupNamesTheExchange) {
  fake_gpu::reset({.failing_rank = 0, .failing_call = 1});
  const auto errors = run_simulated(2, {}, [](Communicator& bootstrap) {
    const auto c = make_nccl_communicator(bootstrap, quick(0.5));
    std::vector<float> out(2), in(2);
    for (int i = 0; i < 2; ++i)
      c->all_to_all({out.data(), 2, DataType::float32}, {in.data(), 2, DataType::float32}, "parts")
          .wait();
  });
  EXPECT_THAT(errors[0],
              AllOf(HasSubstr("all_to_all 1 (parts)"), HasSubstr("unhandled system error")));
  EXPECT_THAT(errors[1], AllOf(HasSubstr("all_to_all 1 (parts"), HasSubstr("not done after")));
  EXPECT_EQ(fake_gpu::aborted(), 2);
}

TEST(NcclCommunicator, TheFakeKnowsTheRulesOfGroups) {
  // Tests of the test tool, on the bare interface: two ranks, each a thread.
  fake_gpu::reset({});
  const auto errors = run_simulated(2, {}, [](Communicator& bootstrap) {
    const auto c = make_nccl_communicator(bootstrap, quick());
    EXPECT_EQ(ncclGroupEnd(), ncclInvalidUsage);
    c->barrier("together").wait();
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
  EXPECT_THAT(fake_gpu::violations(),
              testing::Contains(HasSubstr("closed that was not opened")).Times(2));

  // Rank 0 sends two parts of 2, rank 1 expects parts of 1.
  fake_gpu::reset({});
  run_simulated(2, {}, [](Communicator& bootstrap) {
    const auto c = make_nccl_communicator(bootstrap, quick(0.5));
    std::vector<float> out(4), in(4);
    const int64_t count = bootstrap.rank() == 0 ? 4 : 2;
    c->all_to_all({out.data(), count, DataType::float32}, {in.data(), count, DataType::float32},
                  "parts")
        .wait();
  });
  EXPECT_THAT(fake_gpu::violations(),
              testing::Contains(HasSubstr("rank 0 sends 2 float32, rank 1 receives 1 float32")));
}

// A communicator and the stream that its buffers are made on.
struct OnStream {
  OnStream(Communicator& bootstrap, NcclOptions options) {
    cudaStreamCreateWithFlags(&compute, 0);
    options.compute_stream = [this] { return compute; };
    c = make_nccl_communicator(bootstrap, options);
  }
  ~OnStream() {
    c.reset();
    fake_gpu::synchronize(compute);
    cudaStreamDestroy(compute);
  }
  OnStream(const OnStream&) = delete;
  OnStream& operator=(const OnStream&) = delete;

  cudaStream_t compute = nullptr;
  std::unique_ptr<Communicator> c;
};

// A step in miniature: two gradients are made one after the other and summed by all-reduce and by
// reduce-scatter, of which the parts are gathered again. All numbers follow from `x`. What is given
// to the stream holds them: a launch may outlive the step.
class SmallStep {
 public:
  struct Numbers {
    float x = 0;
    std::vector<float> a, b, part, whole;
    std::vector<float> result;  // each: 11 times the sum of all ranks' x
  };

  explicit SmallStep(OnStream& on) : on_(on) {
    const auto ranks = static_cast<size_t>(on.c->size());
    numbers_->a.resize(8);
    numbers_->part.resize(1);
    numbers_->b.resize(ranks);
    numbers_->whole.resize(ranks);
  }
  Numbers* operator->() { return numbers_.get(); }

  void operator()() {
    Communicator& c = *on_.c;
    const auto buffer = [](std::vector<float>& v) {
      return Buffer{v.data(), static_cast<int64_t>(v.size()), DataType::float32};
    };
    Numbers& all = *numbers_;
    on_device([](Numbers& n) { std::fill(n.a.begin(), n.a.end(), n.x); });
    // As backward does, on a thread of its own.
    Work first, second;
    std::exception_ptr error;
    std::thread hooks([&] {
      try {
        first = c.all_reduce(buffer(all.a), ReduceOp::sum, "gradient bucket 0");
        on_device([](Numbers& n) { std::fill(n.b.begin(), n.b.end(), 10 * n.x); });
        second =
            c.reduce_scatter(buffer(all.b), buffer(all.part), ReduceOp::sum, "gradient bucket 1");
      } catch (...) {
        error = std::current_exception();
      }
    });
    hooks.join();
    if (error) std::rethrow_exception(error);
    first.join();
    second.join();
    on_device([](Numbers& n) { n.part[0] += n.a[0]; });
    Work gathered = c.all_gather(buffer(all.part), buffer(all.whole), "updated weights");
    gathered.join();
    on_device([](Numbers& n) { n.result = n.whole; });
    first.wait();
    second.wait();
    gathered.wait();
  }
  // As it stands, launched piece by piece, to its end.
  void now() {
    (*this)();
    fake_gpu::synchronize(on_.compute);
  }

 private:
  void on_device(void (*work)(Numbers&)) {
    fake_gpu::launch(on_.compute, [numbers = numbers_, work] { work(*numbers); });
  }

  OnStream& on_;
  std::shared_ptr<Numbers> numbers_ = std::make_shared<Numbers>();
};

TEST(NcclCommunicator, ARecordedStepIsDoneAnewAtEveryLaunch) {
  for (const int ranks : {1, 2, 3, 4}) {
    fake_gpu::reset({.delay_s = 5e-4});
    const auto errors = run_simulated(ranks, {}, [](Communicator& bootstrap) {
      OnStream on(bootstrap, quick());
      ASSERT_TRUE(on.c->can_be_recorded());
      SmallStep step(on);
      const auto expected = [&] {
        return 11 * (step->x * float(on.c->size()) + float(on.c->size() * (on.c->size() - 1)) / 2 -
                     float(on.c->rank() * on.c->size()));
      };
      step.now();  // connections come to stand
      fake_gpu::Graph graph(on.compute, [&] { step(); });
      EXPECT_THAT(step->result, Each(0.0f));  // nothing is computed yet
      for (const int k : {1, 5, 2}) {
        step->x = float(k + on.c->rank());
        graph.launch(on.compute);
        on.c->watch("recorded step").wait();
        EXPECT_THAT(step->result, Each(expected())) << on.c->size() << " ranks";
        step->result.clear();
      }
    });
    EXPECT_THAT(errors, Each(IsEmpty())) << ranks;
    EXPECT_THAT(fake_gpu::violations(), IsEmpty()) << ranks;
    EXPECT_EQ(fake_gpu::destroyed(), ranks);
  }
}

// Others go on with what has not been recorded, in between.
TEST(NcclCommunicator, OtherOperationsAndLaunchesTakeTurns) {
  fake_gpu::reset({.delay_s = 5e-4});
  const auto errors = run_simulated(3, {}, [](Communicator& bootstrap) {
    OnStream on(bootstrap, quick());
    SmallStep step(on);
    step.now();
    fake_gpu::Graph graph(on.compute, [&] { step(); });
    step->x = 1;
    for (int k = 0; k < 3; ++k) {
      std::vector<float> v(4, 1.0f);
      graph.launch(on.compute);
      auto sum = on.c->all_reduce({v.data(), 4, DataType::float32}, ReduceOp::sum, "outside");
      sum.join();
      graph.launch(on.compute);
      sum.wait();
      on.c->watch("recorded step").wait();
      EXPECT_THAT(v, Each(3.0f));
      EXPECT_THAT(step->result, Each(33.0f));
    }
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
  EXPECT_THAT(fake_gpu::violations(), IsEmpty());
}

TEST(NcclCommunicator, ALostRankEndsARecordedStepWithinTheLimit) {
  fake_gpu::reset({.silent_rank = 1});
  const auto start = Clock::now();
  const auto errors = run_simulated(2, {}, [](Communicator& bootstrap) {
    NcclOptions options = quick(0.5);
    options.recorder = std::make_shared<FlightRecorder>();
    OnStream on(bootstrap, options);
    on.c->set_phase(Phase::train);
    std::vector<float> v(8);
    fake_gpu::Graph graph(on.compute, [&] {
      on.c->all_reduce({v.data(), 8, DataType::float32}, ReduceOp::sum, "gradient bucket 0").join();
    });
    graph.launch(on.compute);
    Work replayed = on.c->watch("recorded step");
    EXPECT_EQ(options.recorder->entries().back().operation.kind, Collective::replay);
    replayed.wait();
  });
  EXPECT_LT(seconds_since(start), 5);
  EXPECT_THAT(errors, Each(AllOf(HasSubstr("replay 1 (recorded step)"), HasSubstr("phase train"))));
  EXPECT_EQ(fake_gpu::aborted(), 2);
  // What was not run first is told; nothing else: the graph was gone before the communicator.
  EXPECT_THAT(fake_gpu::violations(), Each(HasSubstr("before it has run once")));
}

TEST(NcclCommunicator, AnErrorWithinALaunchIsToldByItsWatch) {
  fake_gpu::reset({.failing_rank = 1, .failing_call = 4});
  const auto errors = run_simulated(2, {}, [](Communicator& bootstrap) {
    OnStream on(bootstrap, quick(0.5));
    SmallStep step(on);
    step.now();  // calls 0, 1 and 2
    fake_gpu::Graph graph(on.compute, [&] { step(); });
    graph.launch(on.compute);
    on.c->watch("recorded step").wait();
  });
  EXPECT_THAT(errors[1], AllOf(HasSubstr("(recorded step)"), HasSubstr("unhandled system error")));
  EXPECT_THAT(errors[0], AllOf(HasSubstr("(recorded step)"), HasSubstr("not done after")));
  EXPECT_EQ(fake_gpu::aborted(), 2);
  EXPECT_THAT(fake_gpu::violations(), IsEmpty());
}

// Then the communicator is as good as before, and can be used without recording.
TEST(NcclCommunicator, ASpoiltRecordingIsNoFailureOfTheCommunicator) {
  fake_gpu::reset({});
  const auto errors = run_simulated(2, {}, [](Communicator& bootstrap) {
    OnStream on(bootstrap, quick());
    SmallStep step(on);
    step->x = 1;
    step.now();
    try {
      fake_gpu::Graph graph(on.compute, [&] {
        if (on.c->rank() == 1) fake_gpu::Graph::spoil(on.compute);
        step();
      });
      EXPECT_EQ(on.c->rank(), 0);
    } catch (const CommError& e) {
      ADD_FAILURE() << e.what();
    } catch (const Error& e) {
      EXPECT_EQ(on.c->rank(), 1);
      EXPECT_THAT(e.what(),
                  HasSubstr("the recording of this stream was spoilt by an earlier call"));
    }
    step.now();
    EXPECT_THAT(step->result, Each(22.0f));
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
  EXPECT_THAT(fake_gpu::violations(), IsEmpty());
  EXPECT_EQ(fake_gpu::destroyed(), 2);
}

TEST(NcclCommunicator, TheFakeKnowsTheRulesOfRecordings) {
  // Tests of the test tool: a sum that is not joined, one that never ran, a question meanwhile,
  // ranks that record in different orders, a graph that outlives its communicator.
  const auto broken = [](int ranks,
                         const std::function<void(OnStream&, std::vector<float>&)>& program) {
    fake_gpu::reset({});
    run_simulated(ranks, {}, [&](Communicator& bootstrap) {
      OnStream on(bootstrap, quick(0.5));
      std::vector<float> v(8);
      on.c->all_reduce({v.data(), 8, DataType::float32}, ReduceOp::sum, "before").wait();
      program(on, v);
    });
    return fake_gpu::violations();
  };
  const auto sum = [](OnStream& on, std::vector<float>& v, int64_t count) {
    return on.c->all_reduce({v.data(), count, DataType::float32}, ReduceOp::sum, "sum");
  };
  EXPECT_THAT(broken(2,
                     [&](OnStream& on, std::vector<float>& v) {
                       fake_gpu::Graph(on.compute, [&] { sum(on, v, 8); });
                     }),
              testing::Contains(HasSubstr("is not joined")).Times(2));
  EXPECT_THAT(broken(1,
                     [&](OnStream& on, std::vector<float>& v) {
                       fake_gpu::Graph(on.compute, [&] { sum(on, v, 7).join(); });
                     }),
              testing::ElementsAre(HasSubstr("is recorded before it has run once")));
  EXPECT_THAT(broken(1,
                     [&](OnStream& on, std::vector<float>& v) {
                       Work before = sum(on, v, 8);
                       fake_gpu::Graph(on.compute, [&] { before.is_done(); });
                     }),
              testing::ElementsAre(HasSubstr("cudaEventQuery while recording")));
  EXPECT_THAT(broken(2,
                     [&](OnStream& on, std::vector<float>& v) {
                       sum(on, v, 4).wait();
                       const bool first = on.c->rank() == 0;
                       fake_gpu::Graph graph(on.compute, [&] {
                         sum(on, v, first ? 4 : 8).join();
                         sum(on, v, first ? 8 : 4).join();
                       });
                       graph.launch(on.compute);
                       on.c->watch("recorded step").wait();
                     }),
              testing::Contains(HasSubstr("against all_reduce")));
  std::vector<std::unique_ptr<fake_gpu::Graph>> outlives(1);
  EXPECT_THAT(broken(1,
                     [&](OnStream& on, std::vector<float>& v) {
                       outlives[0] = std::make_unique<fake_gpu::Graph>(
                           on.compute, [&] { sum(on, v, 8).join(); });
                     }),
              testing::ElementsAre(HasSubstr("whose operations a graph holds")));
}

TEST(NcclCommunicator, EveryOperationIsRecorded) {
  fake_gpu::reset({});
  run_simulated(2, {}, [](Communicator& bootstrap) {
    NcclOptions options = quick();
    options.recorder = std::make_shared<FlightRecorder>();
    const auto c = make_nccl_communicator(bootstrap, options);
    c->barrier("a").wait();
    ASSERT_EQ(options.recorder->entries().size(), 1u);
    EXPECT_GT(options.recorder->entries()[0].end_s, 0);
  });
}

}  // namespace
}  // namespace scorenet::comm
