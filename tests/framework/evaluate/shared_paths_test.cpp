#include "framework/evaluate/shared_paths.hpp"

#include <gtest/gtest.h>

namespace scorenet::evaluate {
namespace {

TEST(SharedPaths, AreDrawnOnceForEachBatchAndItsValues) {
  SharedPaths shared;
  int draws = 0;
  const auto ask = [&](double value, int64_t slot) {
    const auto x = torch::full({2, 3}, value);
    const auto paths = shared.of(x, {slot, slot + 1}, [&] {
      ++draws;
      return SharedPaths::Paths{{value + double(slot), {}, {}}};
    });
    return paths.at(0).hbar;
  };
  EXPECT_EQ(ask(0.5, 0), 0.5);
  EXPECT_EQ(ask(0.5, 0), 0.5);
  EXPECT_EQ(draws, 1);
  // Another dequantisation of the same examples, and other examples of the same values.
  EXPECT_EQ(ask(0.25, 0), 0.25);
  EXPECT_EQ(ask(0.5, 2), 2.5);
  EXPECT_EQ(draws, 3);
  EXPECT_EQ(ask(0.5, 2), 2.5);
  EXPECT_EQ(ask(0.5, 0), 0.5);
  EXPECT_EQ(draws, 3);
}

}  // namespace
}  // namespace scorenet::evaluate
