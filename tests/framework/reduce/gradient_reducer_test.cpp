// The reducer on simulated ranks: right sums, no copies, the planned traffic, one order
// on all ranks.
#include "framework/reduce/gradient_reducer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn.h>

#include <mutex>

#include "framework/comm/sim_communicator.hpp"
#include "framework/comm/single_communicator.hpp"
#include "framework/core/error.hpp"

namespace scorenet::reduce {
namespace {

using comm::Communicator;
using comm::run_simulated;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A three-layer perceptron with the same weights on every rank, and the reducer's
/// pieces around it.
struct Model {
  std::vector<torch::Tensor> w;  // registration order: layer 1 to 3
  FlatLayout layout;
  torch::Tensor flat;

  explicit Model(torch::Dtype dtype = torch::kFloat64) {
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{6, 5}, {5, 4}, {4, 1}}) {
      const int64_t n = shape[0] * shape[1];
      w.push_back((torch::arange(n, dtype).reshape(shape) / double(n) - 0.4).requires_grad_());
    }
    layout = make_flat_layout({30, 20, 4});
    flat = torch::full({layout.total}, 7.0, dtype);
  }

  torch::Tensor loss(const torch::Tensor& x) const {
    return torch::tanh(torch::tanh(x.mm(w[0])).mm(w[1])).mm(w[2]).square().sum();
  }
};

/// Example i of a data set of any size.
torch::Tensor examples(int64_t first, int64_t count) {
  return torch::sin(torch::arange(first * 6, (first + count) * 6, torch::kFloat64))
      .reshape({count, 6});
}

/// Tiny caps: every parameter its own bucket.
ReducerOptions one_bucket_each() { return {{8, 8, 8}}; }
ReducerOptions one_bucket() { return {{1 << 20, 1 << 20, 1 << 20}}; }

TEST(GradientReducer, RanksOfBGiveTheGradientOfOneRankOfNB) {
  // 5 examples over 1, 2, 3 and 4 ranks in uneven shares, some empty; each example weighted by
  // 1 / 5.
  Model one;
  (one.loss(examples(0, 5)) / 5).backward();
  for (const int n : {1, 2, 3, 4, 7}) {
    const auto errors = run_simulated(n, {}, [&](Communicator& c) {
      Model m;
      GradientReducer reducer(m.w, m.flat, m.layout, c, one_bucket_each());
      for (int step = 0; step < 3; ++step) {  // the later steps use the observed order
        reducer.zero_gradients();
        const int64_t first = 5 * c.rank() / n;
        const int64_t count = 5 * (c.rank() + 1) / n - first;
        reducer.begin(true);
        if (count > 0) (m.loss(examples(first, count)) / 5).backward();
        reducer.finish();
        for (size_t i = 0; i < 3; ++i) {
          EXPECT_TRUE(torch::allclose(m.w[i].grad(), one.w[i].grad(), 1e-12, 1e-14))
              << n << " " << i;
        }
      }
    });
    EXPECT_THAT(errors, Each(IsEmpty()));
  }
}

TEST(GradientReducer, ForADeviceTheSumIsTheSameWhetherSentDuringBackwardOrAfter) {
  Model one;
  (one.loss(examples(0, 4)) / 4).backward();
  for (const bool after : {false, true}) {
    const auto errors = run_simulated(2, {}, [&](Communicator& c) {
      Model m;
      GradientReducer reducer(m.w, m.flat, m.layout, c, one_bucket_each());
      for (int step = 0; step < 3; ++step) {
        reducer.zero_gradients();
        reducer.begin(!after);
        (m.loss(examples(2 * c.rank(), 2)) / 4).backward();
        if (after) reducer.begin(true);
        reducer.finish_on_device();
        reducer.settle();
        for (size_t i = 0; i < 3; ++i)
          EXPECT_TRUE(torch::allclose(m.w[i].grad(), one.w[i].grad(), 1e-12, 1e-14)) << i;
      }
    });
    EXPECT_THAT(errors, Each(IsEmpty()));
  }
}

TEST(GradientReducer, AccumulationSendsOnceAndSumsAllMicroBatches) {
  Model one;
  one.loss(examples(0, 8)).backward();
  const auto errors = run_simulated(2, {}, [&](Communicator& c) {
    Model m;
    GradientReducer reducer(m.w, m.flat, m.layout, c, one_bucket_each());
    reducer.zero_gradients();
    for (int micro = 0; micro < 2; ++micro) {
      reducer.begin(micro == 1);
      m.loss(examples(4 * c.rank() + 2 * micro, 2)).backward();
    }
    reducer.finish();
    EXPECT_EQ(reducer.stats().calls, 3);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(torch::allclose(m.w[i].grad(), one.w[i].grad(), 1e-12, 1e-14));
    }
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST(GradientReducer, GradientsAreViewsOfTheFlatBufferBeforeAndAfter) {
  run_simulated(2, {}, [](Communicator& c) {
    Model m;
    GradientReducer reducer(m.w, m.flat, m.layout, c, one_bucket());
    for (int step = 0; step < 2; ++step) {
      reducer.zero_gradients();
      reducer.begin(true);
      m.loss(examples(0, 2)).backward();
      reducer.finish();
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(m.w[i].grad().data_ptr(), m.flat.data_ptr<double>() + m.layout.offsets[i]);
      }
    }
    // Padding between parameters (30 of 32, 20 of 32, 4 of 16 elements) holds zeros.
    EXPECT_EQ(m.flat[m.layout.offsets[0] + 30].item<double>(), 0);
  });
}

TEST(GradientReducer, BytesAndCallsEqualThePlan) {
  run_simulated(3, {}, [](Communicator& c) {
    Model m;
    GradientReducer each(m.w, m.flat, m.layout, c, one_bucket_each());
    each.zero_gradients();
    each.begin(true);
    m.loss(examples(0, 2)).backward();
    each.finish();
    // 16 + 32 + 32 elements of 8 bytes in three buckets.
    EXPECT_EQ(each.stats().calls, 3);
    EXPECT_EQ(each.stats().bytes, 80 * 8);
  });
  run_simulated(3, {}, [](Communicator& c) {
    Model m;
    GradientReducer all(m.w, m.flat, m.layout, c, one_bucket());
    all.zero_gradients();
    all.begin(true);
    m.loss(examples(0, 2)).backward();
    all.finish();
    EXPECT_EQ(all.stats().calls, 1);
    EXPECT_EQ(all.stats().bytes, 80 * 8);
  });
}

TEST(GradientReducer, BucketsAreLaunchedInTheOrderObservedOnRankZero) {
  // Parameters are used in the order 2, 0, 1, so their gradients come in the order 1, 0, 2;
  // the layout expected 2, 1, 0. Rank 1 uses them the other way round and follows rank zero
  // all the same.
  const auto errors = run_simulated(2, {}, [](Communicator& c) {
    std::vector<torch::Tensor> p;
    for (int i = 0; i < 3; ++i)
      p.push_back(torch::full({4}, 1.0 + i, torch::kFloat64).requires_grad_());
    const FlatLayout layout = make_flat_layout({4, 4, 4}, 1);
    const auto flat = torch::zeros({layout.total}, torch::kFloat64);
    GradientReducer reducer(p, flat, layout, c, one_bucket_each());
    EXPECT_THAT(reducer.launch_order(), ElementsAre(0, 1, 2));
    const std::vector<size_t> use =
        c.rank() == 0 ? std::vector<size_t>{2, 0, 1} : std::vector<size_t>{1, 0, 2};
    const auto step = [&] {
      reducer.zero_gradients();
      reducer.begin(true);
      auto y = torch::ones({4}, torch::kFloat64);
      for (const size_t i : use) y = y * p[i];
      y.sum().backward();
      reducer.finish();
      // d(abc)/da = bc: 6, 3, 2 on each of two ranks.
      EXPECT_EQ(p[0].grad()[0].item<double>(), 12);
      EXPECT_EQ(p[1].grad()[0].item<double>(), 6);
      EXPECT_EQ(p[2].grad()[0].item<double>(), 4);
    };
    step();
    EXPECT_THAT(reducer.observed_order(), ElementsAre(1, 0, 2));
    // Bucket b holds parameter 2 - b.
    EXPECT_THAT(reducer.launch_order(), ElementsAre(1, 2, 0));
    step();
    reducer.reobserve();
    EXPECT_THAT(reducer.launch_order(), ElementsAre(0, 1, 2));
    step();
    EXPECT_THAT(reducer.launch_order(), ElementsAre(1, 2, 0));
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST(GradientReducer, AParameterUsedOnSomeRanksOnlyGetsTheSumOfThose) {
  const auto errors = run_simulated(3, {}, [](Communicator& c) {
    auto a = torch::ones({2}, torch::kFloat64).requires_grad_();
    auto b = torch::ones({2}, torch::kFloat64).requires_grad_();
    const FlatLayout layout = make_flat_layout({2, 2});
    GradientReducer reducer({a, b}, torch::zeros({layout.total}, torch::kFloat64), layout, c,
                            one_bucket_each());
    for (int step = 0; step < 2; ++step) {
      reducer.zero_gradients();
      reducer.begin(true);
      (c.rank() == 1 ? (a + 2 * b).sum() : a.sum()).backward();
      reducer.finish();
      EXPECT_EQ(reducer.stats().unused_parameters, c.rank() == 1 ? 0 : 1);
      EXPECT_EQ(a.grad()[0].item<double>(), 3);
      EXPECT_EQ(b.grad()[0].item<double>(), 2);
    }
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST(GradientReducer, FrozenParametersHoldNothingUp) {
  // Both parameters share a bucket; it is launched as soon as the trained one is there, and again
  // in its turn later.
  const auto errors = run_simulated(2, {}, [](Communicator& c) {
    const auto frozen = torch::ones({2}, torch::kFloat64);
    const auto trained = torch::ones({2}, torch::kFloat64).requires_grad_();
    const FlatLayout layout = make_flat_layout({2, 2});
    GradientReducer reducer({frozen, trained}, torch::zeros({layout.total}, torch::kFloat64),
                            layout, c, one_bucket());
    for (int step = 0; step < 2; ++step) {
      reducer.zero_gradients();
      reducer.begin(true);
      (frozen * trained).sum().backward();
      EXPECT_EQ(reducer.stats().calls, 1);  // before finish()
      reducer.finish();
      EXPECT_EQ(reducer.stats().unused_parameters, 0);
      EXPECT_EQ(trained.grad()[0].item<double>(), 2);
      EXPECT_EQ(frozen.grad()[0].item<double>(), 0);
      const BucketTimes times = reducer.stats().buckets.at(0);
      EXPECT_LE(times.ready_s, times.start_s);
      EXPECT_LE(times.start_s, times.done_s);
    }
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST(GradientReducer, KeepsTheStridesOfChannelsLastWeights) {
  run_simulated(2, {}, [](Communicator& c) {
    auto w =
        torch::ones({4, 3, 3, 3}).contiguous(torch::MemoryFormat::ChannelsLast).requires_grad_();
    const FlatLayout layout = make_flat_layout({w.numel()});
    GradientReducer reducer({w}, torch::zeros({layout.total}), layout, c, one_bucket());
    EXPECT_EQ(w.grad().strides(), w.strides());
    reducer.begin(true);
    (w * torch::arange(108).reshape({4, 3, 3, 3})).sum().backward();
    reducer.finish();
    EXPECT_TRUE(
        torch::equal(w.grad(), 2 * torch::arange(108).reshape({4, 3, 3, 3}).to(torch::kFloat32)));
  });
}

TEST(GradientReducer, OneRankHasNoHooksAndNoTraffic) {
  const auto alone = comm::make_single_communicator();
  Model m;
  GradientReducer reducer(m.w, m.flat, m.layout, *alone, one_bucket());
  reducer.zero_gradients();
  reducer.begin(true);
  m.loss(examples(0, 2)).backward();
  reducer.finish();
  EXPECT_EQ(reducer.stats().calls, 0);
  Model plain;
  plain.loss(examples(0, 2)).backward();
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(torch::equal(m.w[i].grad(), plain.w[i].grad()));
}

TEST(GradientReducer, TrafficHidesBehindBackward) {
  // Sleeping backward of 3 x 40 ms, sleeping network of 20 ms a bucket: only the last bucket's 20
  // ms are exposed.
  comm::SimOptions network;
  network.latency_s = 10e-3;  // 2 ranks: 2 latencies an all-reduce
  const auto errors = run_simulated(2, network, [](Communicator& c) {
    std::vector<torch::Tensor> p;
    auto y = torch::ones({1});
    for (int i = 0; i < 3; ++i) {
      p.push_back(torch::ones({1}).requires_grad_());
      auto slow = p.back() * 1;
      // Runs before this parameter's gradient is ready.
      slow.register_hook(
          [](const torch::Tensor&) { std::this_thread::sleep_for(std::chrono::milliseconds(40)); });
      y = y * slow;
    }
    const FlatLayout layout = make_flat_layout({1, 1, 1}, 1);
    GradientReducer reducer(p, torch::zeros({3}), layout, c, {{4, 4, 4}});
    reducer.begin(true);
    y.backward();
    reducer.finish();
    EXPECT_GE(reducer.stats().exposed_seconds, 15e-3);
    EXPECT_LT(reducer.stats().exposed_seconds, 45e-3);  // 60 ms if nothing were hidden
    EXPECT_GE(reducer.stats().before_first_seconds, 40e-3);
    EXPECT_LT(reducer.stats().before_first_seconds, 80e-3);
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST(GradientReducer, WithoutOverlapNothingTravelsBeforeFinishAndTheSumsAreTheSameBits) {
  const auto errors = run_simulated(3, {}, [](Communicator& c) {
    Model with, without;
    GradientReducer on(with.w, with.flat, with.layout, c, one_bucket_each());
    ReducerOptions options = one_bucket_each();
    options.overlap = Overlap::off;
    GradientReducer off(without.w, without.flat, without.layout, c, options);
    const auto step = [&](Model& m, GradientReducer& reducer) {
      reducer.zero_gradients();
      reducer.begin(true);
      m.loss(examples(c.rank(), 1 + c.rank())).backward();
      const int64_t calls = reducer.stats().calls;
      reducer.finish();
      return calls;
    };
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(step(with, on), 3);
      EXPECT_EQ(step(without, off), 0);
      EXPECT_EQ(off.stats().calls, 3);
      EXPECT_EQ(off.stats().overtaken, on.stats().overtaken);
      EXPECT_TRUE(torch::equal(with.flat, without.flat));
    }
    EXPECT_EQ(off.observed_order(), on.observed_order());
    EXPECT_EQ(off.overlap().describe(), "after backward");
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST(GradientReducer, MeasuringFindsThatASleepingNetworkHidesOnAllRanks) {
  // Backward sleeps 2 x 5 ms, the network 4 ms a bucket: 14 ms a step with overlap, 18 ms without.
  comm::SimOptions network;
  network.latency_s = 2e-3;
  const auto errors = run_simulated(2, network, [](Communicator& c) {
    std::vector<torch::Tensor> p;
    auto y = torch::ones({1});
    for (int i = 0; i < 2; ++i) {
      p.push_back(torch::ones({1}).requires_grad_());
      auto slow = p.back() * 1;
      slow.register_hook(
          [](const torch::Tensor&) { std::this_thread::sleep_for(std::chrono::milliseconds(5)); });
      y = y * slow;
    }
    ReducerOptions options{{4, 4, 4}};
    options.overlap = Overlap::measured;
    const FlatLayout layout = make_flat_layout({1, 1}, 1);
    GradientReducer reducer(p, torch::zeros({2}), layout, c, options);
    for (int64_t i = 0; i < OverlapTrial::kWarmUp + 2 * OverlapTrial::kPairs; ++i) {
      EXPECT_FALSE(reducer.overlap().decided()) << i;
      reducer.begin(true);
      y.backward({}, /*retain_graph=*/true);
      reducer.finish();
    }
    EXPECT_TRUE(reducer.overlap().decided());
    EXPECT_TRUE(reducer.overlap().overlaps());
    EXPECT_THAT(reducer.overlap().describe(),
                AllOf(HasSubstr("during backward (both take"), HasSubstr("after backward ")));
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST(OverlapTrial, AlternatesAndLeavesTheOverlapOnlyForAGain) {
  const auto after_measuring = [](double on_s, double off_s) {
    OverlapTrial trial(Overlap::measured);
    std::string ways;
    while (!trial.is_complete()) {
      ways += trial.overlaps() ? '1' : '0';
      // One slow step each way, as others on the machine make them, decides nothing.
      const bool disturbed = ways.size() == 5 || ways.size() == 6;
      trial.record(disturbed ? 100 : trial.overlaps() ? on_s : off_s);
    }
    EXPECT_EQ(ways, "111001100110011001");
    trial.decide(trial.better_on());
    return trial;
  };
  EXPECT_TRUE(after_measuring(0.070, 0.074).overlaps());
  EXPECT_TRUE(after_measuring(0.0740, 0.0735).overlaps());
  EXPECT_FALSE(after_measuring(0.074, 0.070).overlaps());
  EXPECT_EQ(after_measuring(0.074, 0.070).describe(),
            "after backward (both take 70 ms, during backward 74)");
  EXPECT_FALSE(OverlapTrial(Overlap::off).overlaps());
  EXPECT_TRUE(OverlapTrial(Overlap::on).decided());
}

TEST(GradientReducer, SecondGradientWhileSynchronisingIsNamed) {
  const auto errors = run_simulated(2, {}, [](Communicator& c) {
    Model m;
    GradientReducer reducer(m.w, m.flat, m.layout, c, one_bucket());
    reducer.zero_gradients();
    reducer.begin(true);
    m.loss(examples(0, 1)).backward();
    m.loss(examples(0, 1)).backward();
  });
  EXPECT_THAT(errors, Each(AllOf(HasSubstr("(4, 1)"), HasSubstr("begin(false)"))));
}

TEST(GradientReducer, AGradientThatLeftItsBucketIsNamed) {
  const auto errors = run_simulated(2, {}, [](Communicator& c) {
    Model m;
    GradientReducer reducer(m.w, m.flat, m.layout, c, one_bucket());
    reducer.begin(true);
    m.w[1].mutable_grad() = torch::zeros({5, 4}, torch::kFloat64);
    m.loss(examples(0, 1)).backward();
    reducer.finish();
  });
  EXPECT_THAT(errors, Each(AllOf(HasSubstr("parameter 1"), HasSubstr("(5, 4)"))));
}

TEST(GradientReducer, AnOrderThatNoLongerFitsIsSeenAndObservedAgain) {
  // y = a b c: gradients come in the order in which the graph is walked. When the product is taken
  // the other way round, the buckets of the old order are overtaken; after reobserve() none is.
  const auto errors = run_simulated(2, {}, [](Communicator& c) {
    std::vector<torch::Tensor> p;
    for (int i = 0; i < 3; ++i) p.push_back(torch::ones({1}).requires_grad_());
    const FlatLayout layout = make_flat_layout({1, 1, 1}, 1);
    GradientReducer reducer(p, torch::zeros({3}), layout, c, {{4, 4, 4}});
    const auto step = [&](const std::vector<size_t>& order) {
      auto y = torch::ones({1});
      for (const size_t i : order) y = (y * p[i]).sin();
      reducer.zero_gradients();
      reducer.begin(true);
      y.backward();
      reducer.finish();
      return reducer.stats().overtaken;
    };
    step({0, 1, 2});
    EXPECT_EQ(step({0, 1, 2}), 0);
    EXPECT_GT(step({2, 1, 0}), 0);
    reducer.reobserve();
    step({2, 1, 0});
    EXPECT_EQ(step({2, 1, 0}), 0);
    EXPECT_EQ(reducer.observed_order(), (std::vector<int64_t>{0, 1, 2}));
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST(GradientReducer, AnUnusedParameterIsAnErrorUnlessAllowed) {
  const auto errors = run_simulated(2, {}, [](Communicator& c) {
    Model m;
    ReducerOptions options = one_bucket_each();
    options.allow_unused = false;
    options.names = {"first", "second", "third"};
    GradientReducer reducer(m.w, m.flat, m.layout, c, options);
    // An empty share runs no backward and is none.
    reducer.begin(true);
    reducer.finish();
    EXPECT_EQ(reducer.stats().unused_parameters, 3);
    reducer.begin(true);
    m.w[1].sum().backward();
    reducer.finish();
  });
  EXPECT_THAT(errors, Each(AllOf(HasSubstr("parameter first"), HasSubstr("and 1 more"),
                                 HasSubstr("comm.allow_unused"))));
}

TEST(GradientReducer, ParametersThatDoNotFitTheLayoutAreNamed) {
  const auto alone = comm::make_single_communicator();
  Model m;
  const FlatLayout wrong = make_flat_layout({30, 21, 4});
  const auto message = [&](auto call) -> std::string {
    try {
      call();
    } catch (const ShapeError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message([&] { GradientReducer(m.w, m.flat, wrong, *alone, one_bucket()); }),
              HasSubstr("(5, 4)"));
  EXPECT_THAT(message([&] {
                GradientReducer(m.w, torch::zeros({3}, torch::kFloat64), m.layout, *alone,
                                one_bucket());
              }),
              AllOf(HasSubstr("(3)"), HasSubstr("(80)")));
  EXPECT_THAT(message([&] {
                GradientReducer({torch::zeros({5}, torch::kInt64)},
                                torch::zeros({16}, torch::kInt64), make_flat_layout({5}), *alone,
                                one_bucket());
              }),
              HasSubstr("Long"));
}

TEST(GradientReducer, ParametersOutliveIt) {
  run_simulated(2, {}, [](Communicator& c) {
    Model m;
    {
      GradientReducer reducer(m.w, m.flat, m.layout, c, one_bucket());
      reducer.begin(true);
    }
    EXPECT_NO_THROW(m.loss(examples(0, 1)).backward());
  });
}

}  // namespace
}  // namespace scorenet::reduce
