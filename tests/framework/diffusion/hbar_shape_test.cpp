// h(t) as a user writes it.
#include "framework/diffusion/hbar_shape.hpp"

#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using namespace test;

TEST(HbarShape, IsLinearBetweenPointsAndConstantBeyondThem) {
  const HbarShape shape = parse_hbar_shape(" 0.2:1, 0.6:3 ");
  EXPECT_EQ(shape(0.1), 1);
  EXPECT_EQ(shape(0.2), 1);
  EXPECT_NEAR(shape(0.3), 1.5, 1e-12);
  EXPECT_NEAR(shape(0.5), 2.5, 1e-12);
  EXPECT_EQ(shape(0.6), 3);
  EXPECT_EQ(shape(5), 3);
  EXPECT_EQ(parse_hbar_shape("0:0.7")(0.4), 0.7);
}

TEST(HbarShape, TwoPointsAtOneTimeAreAJumpToTheSecond) {
  const HbarShape shape = parse_hbar_shape("0:0,0.5:0,0.5:1,1:1");
  EXPECT_EQ(shape(0.4999), 0);
  EXPECT_EQ(shape(0.5), 1);
  EXPECT_EQ(shape(0.8), 1);
}

TEST(HbarShape, HbarIsItsFactorAndWithoutAShapeTheValueItself) {
  EXPECT_EQ(hbar_at({}, 0.3, 0.5), 0.3);
  EXPECT_NEAR(hbar_at(parse_hbar_shape("0:0,1:1"), 0.3, 0.5), 0.15, 1e-15);
  expect_close(hbar_at(parse_hbar_shape("0:0,1:1"), 2, doubles({0, 0.25, 1})), doubles({0, 0.5, 2}),
               1e-15);
  expect_error<ConfigError>([] { hbar_at([](double) { return -1.0; }, 0.5, 0.25); }, "0.25");
}

TEST(HbarShape, WhatCannotBeReadIsQuoted) {
  const auto parse = [](const std::string& text) { return [=] { parse_hbar_shape(text); }; };
  expect_error<ConfigError>(parse(""), "no point");
  expect_error<ConfigError>(parse("0:1,half"), "\"half\"");
  expect_error<ConfigError>(parse("0:1,0.5:x"), "\"0.5:x\"");
  expect_error<ConfigError>(parse("0:1,0.5:-2"), "-2 at t = 0.5");
  expect_error<ConfigError>(parse("0:1,0.5:inf"), "inf");
  expect_error<ConfigError>(parse("0.5:1,0.2:2"), "t = 0.2 follows");
}

}  // namespace
}  // namespace scorenet::diffusion
