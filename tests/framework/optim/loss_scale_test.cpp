#include "framework/optim/loss_scale.hpp"

#include <gtest/gtest.h>

namespace scorenet::optim {
namespace {

TEST(LossScale, HalvesOnOverflowAndDoublesAfterAQuietWhile) {
  LossScale scale(true);
  EXPECT_EQ(scale.value(), 65536);
  EXPECT_EQ(scale.update(true), 0.5);
  EXPECT_EQ(scale.update(true), 0.5);
  EXPECT_EQ(scale.value(), 16384);
  for (int64_t i = 1; i < LossScale::kPatience; ++i) EXPECT_EQ(scale.update(false), 1) << i;
  EXPECT_EQ(scale.update(false), 2);
  EXPECT_EQ(scale.value(), 32768);
  // The wait begins anew after every change.
  for (int64_t i = 1; i < LossScale::kPatience; ++i) EXPECT_EQ(scale.update(false), 1) << i;
  EXPECT_EQ(scale.update(true), 0.5);
  for (int64_t i = 1; i < LossScale::kPatience; ++i) EXPECT_EQ(scale.update(false), 1) << i;
  EXPECT_EQ(scale.update(false), 2);
}

TEST(LossScale, StaysBetweenOneAndItsLimit) {
  LossScale scale(true);
  for (int i = 0; i < 16; ++i) {
    EXPECT_TRUE(scale.can_fall());
    scale.update(true);
  }
  EXPECT_EQ(scale.value(), 1);
  EXPECT_FALSE(scale.can_fall());  // what still overflows is no matter of scale
  EXPECT_EQ(scale.update(true), 1);
  scale.state()[0] = LossScale::kMost;
  scale.state()[1] = static_cast<double>(LossScale::kPatience - 1);
  EXPECT_EQ(scale.update(false), 1);
  EXPECT_EQ(scale.value(), LossScale::kMost);
}

TEST(LossScale, IsRestoredThroughItsState) {
  LossScale before(true), after(true);
  before.update(true);
  for (int i = 0; i < 7; ++i) before.update(false);
  after.state().copy_(before.state());
  for (int64_t i = 7; i < LossScale::kPatience; ++i)
    EXPECT_EQ(after.update(false), before.update(false)) << i;
  EXPECT_EQ(after.value(), 65536);
}

TEST(LossScale, OnADeviceItDecidesTheSame) {
  LossScale host(true);
  LossScaleOnDevice device(host, torch::kCPU);
  const auto expect_same = [&](bool not_finite) {
    host.update(not_finite && host.can_fall());
    device.update(torch::tensor(not_finite));
    EXPECT_EQ(device.value().item<double>(), host.value());
  };
  const void* const address = device.value().data_ptr();
  for (int i = 0; i < 3; ++i) expect_same(true);
  for (int64_t i = 0; i < 2 * LossScale::kPatience + 5; ++i) expect_same(false);
  for (int i = 0; i < 30; ++i) expect_same(true);  // down to 1, where nothing may fall
  expect_same(false);
  host.state()[0] = LossScale::kMost;
  host.state()[1] = static_cast<double>(LossScale::kPatience - 1);
  device.take(host);
  expect_same(false);
  expect_same(true);
  EXPECT_EQ(device.value().data_ptr(), address);
  EXPECT_FALSE(LossScaleOnDevice(LossScale(false), torch::kCPU).adapts());
}

TEST(LossScale, IsOneForOtherPrecisions) {
  LossScale scale(false);
  EXPECT_EQ(scale.value(), 1);
  EXPECT_FALSE(scale.can_fall());
  for (int64_t i = 0; i <= LossScale::kPatience; ++i) EXPECT_EQ(scale.update(i % 2 == 0), 1);
  EXPECT_EQ(scale.value(), 1);
}

}  // namespace
}  // namespace scorenet::optim
