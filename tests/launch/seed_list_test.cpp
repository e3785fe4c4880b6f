#include "launch/seed_list.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/core/error.hpp"
#include "tests/support/expect_error.hpp"

namespace scorenet::launch {
namespace {

using testing::ElementsAre;

TEST(SeedList, IsNumbersAndClosedRangesInTheirOrder) {
  EXPECT_THAT(parse_seeds("7"), ElementsAre(7));
  EXPECT_THAT(parse_seeds("2-4,9,0-1"), ElementsAre(2, 3, 4, 9, 0, 1));
  EXPECT_THAT(parse_seeds("5-5"), ElementsAre(5));
  EXPECT_THAT(parse_seeds("1,1"), ElementsAre(1, 1));
}

TEST(SeedList, TheWrongPartIsNamed) {
  EXPECT_ERROR(parse_seeds("1,x,3"), ConfigError, "'x'");
  EXPECT_ERROR(parse_seeds("4-2"), ConfigError, "'4-2'");
  EXPECT_ERROR(parse_seeds("-1"), ConfigError, "'-1'");
  EXPECT_ERROR(parse_seeds("1.5"), ConfigError, "'1.5'");
  EXPECT_ERROR(parse_seeds("0-1000000000"), ConfigError, "more than 100000000 seeds");
  EXPECT_ERROR(parse_seeds("99999999999999999999"), ConfigError, "is no seed");
}

TEST(Grid, IsColumnsByRows) {
  EXPECT_EQ(parse_grid("8x3").columns, 8);
  EXPECT_EQ(parse_grid("8x3").rows, 3);
  for (const char* wrong : {"8", "0x3", "8x0", "8 x 3", "-1x2", "99999x1", ""})
    EXPECT_ERROR(parse_grid(wrong), ConfigError, "expected COLUMNSxROWS");
}

}  // namespace
}  // namespace scorenet::launch
