#include "models/cpu/arena.hpp"

#include <gtest/gtest.h>

#include <optional>

namespace scorenet::models::cpu {
namespace {

TEST(Arenas, AreZeroAtFirstAndThenHoldWhatWasLeft) {
  const Arenas arenas;
  const void* place = nullptr;
  {
    const auto first = arenas.lend(10);
    ASSERT_GE(first.numel(), 10);
    EXPECT_EQ(first.abs().max().item<float>(), 0);
    first.fill_(3);
    place = first.data_ptr();
  }
  const auto again = arenas.lend(8);
  EXPECT_EQ(again.data_ptr(), place);
  EXPECT_EQ(again[7].item<float>(), 3);
}

TEST(Arenas, LendNothingTwiceAtATime) {
  const Arenas arenas;
  arenas.lend(10);  // given back at once
  const auto first = arenas.lend(10);
  std::optional<torch::Tensor> copy = first;
  EXPECT_NE(arenas.lend(10).data_ptr(), first.data_ptr());
  copy.reset();  // one copy is left
  EXPECT_NE(arenas.lend(10).data_ptr(), first.data_ptr());
}

TEST(Arenas, GiveALargerPieceInPlaceOfASmallerOne) {
  const Arenas arenas;
  arenas.lend(10);
  const void* large = arenas.lend(20).data_ptr();
  EXPECT_EQ(arenas.lend(10).data_ptr(), large);  // the small piece is gone
}

TEST(Arenas, MayBeGoneBeforeWhatTheyLent) {
  auto arenas = std::make_optional<Arenas>();
  const auto lent = arenas->lend(10);
  arenas.reset();
  lent.fill_(1);
  EXPECT_EQ(lent.sum().item<float>(), static_cast<float>(lent.numel()));
}

TEST(ZerosOnLargePages, AreZerosOfAnySize) {
  for (const int64_t floats : {int64_t{1}, int64_t{1} << 21}) {  // 4 bytes and 8 MiB
    const auto zeros = zeros_on_large_pages(floats);
    EXPECT_EQ(zeros.numel(), floats);
    EXPECT_FALSE(zeros.any().item<bool>());
    zeros.fill_(1);
  }
}

}  // namespace
}  // namespace scorenet::models::cpu
