// Control vector, fingerprint, and the small pieces under them, on simulated ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "framework/comm/any_rank.hpp"
#include "framework/comm/control_vector.hpp"
#include "framework/comm/fingerprint.hpp"
#include "framework/comm/host_reduce.hpp"
#include "framework/comm/operation.hpp"
#include "framework/comm/sim_communicator.hpp"
#include "framework/core/error.hpp"

namespace scorenet::comm {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Kind = ControlField::Kind;

TEST(ControlVector, FlagsTellWhoRaisedThemBeyondOneWord) {
  // 32 ranks share a float64 word (2^32 - 1 is exact in its 53 bits); rank 39 needs the second.
  const auto errors = run_simulated(40, {}, [](Communicator& c) {
    ControlVector v({{"stop", Kind::flag}, {"bad", Kind::flag}}, c.rank(), c.size());
    if (c.rank() == 3 || c.rank() == 31 || c.rank() == 39) v.raise("stop");
    v.raise("bad");
    v.exchange(c).wait();
    EXPECT_THAT(v.raised_by("stop"), ElementsAre(3, 31, 39));
    EXPECT_EQ(v.raised_by("bad").size(), 40u);
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST(ControlVector, ADeviceFindsTheFieldsPlaces) {
  ControlVector v({{"loss", Kind::sum, 3}, {"bad", Kind::flag}, {"stop", Kind::flag}}, 39, 40);
  auto* const values = static_cast<double*>(v.buffer().data);
  values[v.first_of("loss") + 2] = 5;
  const auto flag = v.own_flag("bad");
  values[flag.first] = std::ldexp(1.0, flag.bit);
  EXPECT_EQ(v.sum("loss", 2), 5);
  EXPECT_THAT(v.raised_by("bad"), ElementsAre(39));
  EXPECT_THAT(v.raised_by("stop"), IsEmpty());
  EXPECT_EQ(v.first_of("stop") - v.first_of("bad"), static_cast<size_t>(v.flag_words()));
}

TEST(ControlVector, SumsAddUpAndGathersKeepEachRanksNumber) {
  run_simulated(3, {}, [](Communicator& c) {
    ControlVector v({{"bins", Kind::sum, 2}, {"seconds", Kind::gather, 2}}, c.rank(), c.size());
    v.add("bins", 1, 0);
    v.add("bins", 1, 0);
    v.add("bins", c.rank(), 1);
    v.set("seconds", 10 + c.rank(), 1);
    v.exchange(c).wait();
    EXPECT_EQ(v.sum("bins", 0), 6);  // two from each of three ranks
    EXPECT_EQ(v.sum("bins", 1), 0 + 1 + 2);
    EXPECT_THAT(v.per_rank("seconds", 0), ElementsAre(0, 0, 0));
    EXPECT_THAT(v.per_rank("seconds", 1), ElementsAre(10, 11, 12));
    v.clear();
    EXPECT_EQ(v.sum("bins", 0), 0);
  });
}

TEST(ControlVector, ANonFiniteSumLeavesTheFlagsReadable) {
  ControlVector v({{"loss", Kind::sum}, {"not finite", Kind::flag}}, 0, 1);
  v.add("loss", std::numeric_limits<double>::quiet_NaN());
  v.raise("not finite");
  EXPECT_TRUE(v.any("not finite"));
  EXPECT_TRUE(std::isnan(v.sum("loss")));
}

TEST(ControlVector, WrongFieldsAreNamed) {
  ControlVector v({{"loss", Kind::sum}}, 0, 1);
  const auto message = [](auto call) -> std::string {
    try {
      call();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message([&] { v.add("lose", 1); }), HasSubstr("lose"));
  EXPECT_THAT(message([&] { v.raise("loss"); }), HasSubstr("loss"));
  EXPECT_THAT(message([&] { v.add("loss", 1, 7); }), HasSubstr("7"));
  EXPECT_THAT(message([] { ControlVector({{"a"}, {"a"}}, 0, 1); }), HasSubstr("a is given twice"));
  EXPECT_THAT(message([] { ControlVector({{"a", Kind::sum, 0}}, 0, 1); }), HasSubstr("0 numbers"));
}

std::vector<std::string> compare(const std::vector<Fingerprint>& by_rank) {
  return run_simulated(int(by_rank.size()), {}, [&](Communicator& c) {
    check_same_on_all_ranks(c, by_rank[size_t(c.rank())]);
  });
}

TEST(Fingerprint, EqualOnesPass) {
  const Fingerprint f{{"build", "1"}, {"data", ""}, {"model.channels", "[32, 64]"}};
  EXPECT_THAT(compare({f, f, f}), Each(IsEmpty()));
  EXPECT_THAT(compare({{}, {}}), Each(IsEmpty()));
}

TEST(Fingerprint, TheFirstDifferenceIsNamedOnAllRanksWithKeyValuesAndRanks) {
  const Fingerprint zero{{"build", "1"}, {"seed", "7"}, {"data", "x"}};
  const Fingerprint one{{"build", "1"}, {"seed", "7"}, {"data", "y"}};  // differs third
  const Fingerprint two{{"build", "1"}, {"seed", "8"}, {"data", "x"}};  // differs second: reported
  const auto errors = compare({zero, one, two, two});
  for (const std::string& error : errors) {
    EXPECT_THAT(error, AllOf(HasSubstr("seed = 7 on rank 0 and 8 on rank 2"),
                             HasSubstr("2 of 4 ranks differ")));
  }
}

TEST(Fingerprint, AMissingOrExtraKeyIsADifference) {
  EXPECT_THAT(compare({{{"a", "1"}, {"b", "2"}}, {{"a", "1"}}}),
              Each(HasSubstr("b = 2 on rank 0 and (absent) on rank 1")));
  EXPECT_THAT(compare({{{"a", "1"}}, {{"a", "1"}, {"b", "2"}}}),
              Each(HasSubstr("b = (absent) on rank 0 and 2 on rank 1")));
}

TEST(AnyRank, TheFirstRankThatTellsSomethingIsHeardByAll) {
  for (const int ranks : {1, 2, 3, 4}) {
    const auto errors = run_simulated(ranks, {}, [](Communicator& c) {
      EXPECT_EQ(first_told(c, "", "quiet"), "");
      const std::string own = std::string(300, 'a') + std::to_string(c.rank());
      EXPECT_EQ(first_told(c, own, "long"), "rank 0: " + std::string(240, 'a'));
      if (c.size() < 3) return;
      const std::string told = c.rank() == 0 ? "" : "of " + std::to_string(c.rank()) + "\nmore";
      EXPECT_EQ(first_told(c, told, "two"), "rank 1: of 1");
    });
    EXPECT_THAT(errors, Each(IsEmpty())) << ranks;
  }
}

TEST(BFloat16, RoundsToNearestEvenAndKeepsNan) {
  // 1 has the bits 0x3f80; half a unit of the last place (2^-8) is a tie and goes to
  // the even neighbour.
  EXPECT_EQ(bfloat16_from_float(1.0f), 0x3f80);
  EXPECT_EQ(bfloat16_from_float(1.0f + 1.0f / 256), 0x3f80);
  EXPECT_EQ(bfloat16_from_float(1.0f + 3.0f / 256), 0x3f82);
  EXPECT_EQ(bfloat16_from_float(1.0f + 1.01f / 256), 0x3f81);
  EXPECT_TRUE(std::isnan(float_from_bfloat16(bfloat16_from_float(NAN))));
  EXPECT_TRUE(std::isinf(float_from_bfloat16(bfloat16_from_float(INFINITY))));
}

TEST(Operation, IsDescribedWithAllThatASearchNeeds) {
  const Operation op{Collective::all_reduce, 17,     "gradient bucket 2", DataType::float32,
                     ReduceOp::sum,          1 << 20};
  EXPECT_EQ(describe(op), "all_reduce 17 (gradient bucket 2, sum of 1048576 float32, 4.0 MiB)");
  EXPECT_EQ(bytes_string(12), "12 B");
  EXPECT_EQ(bytes_string(1536), "1.5 KiB");
}

}  // namespace
}  // namespace scorenet::comm
