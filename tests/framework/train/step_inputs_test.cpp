// Inputs stay at their addresses on the device, and a value that was sent is not changed by the
// next one.
#include "framework/train/step_inputs.hpp"

#include <gtest/gtest.h>

namespace scorenet::train {
namespace {

TEST(StepInput, EachSendReplacesTheValuesAtTheSameAddress) {
  StepInput input({3}, torch::kFloat64, torch::kCPU);
  const void* const address = input.on_device().data_ptr();
  for (double step = 1; step <= 3; ++step) {
    input.next().fill_(step);
    input.send();
    EXPECT_TRUE(torch::equal(input.on_device(), torch::full({3}, step, torch::kFloat64)));
    EXPECT_EQ(input.on_device().data_ptr(), address);
  }
}

TEST(StepInput, TheTensorToFillIsNotTheOneThatIsBeingSent) {
  StepInput input({1}, torch::kInt64, torch::kCPU);
  const void* const first = input.next().data_ptr();
  EXPECT_EQ(input.next().data_ptr(), first);  // the same until it is sent
  input.send();
  const void* const second = input.next().data_ptr();
  EXPECT_NE(second, first);
  input.send();
  EXPECT_EQ(input.next().data_ptr(), first);  // two steps later
}

TEST(OptionalInput, IsWhatTheFirstBatchHasOrNothing) {
  OptionalInput none, some;
  none.allocate({}, torch::kCPU);
  none.send({});
  EXPECT_FALSE(none.on_device().defined());
  some.allocate(torch::tensor({true, false}), torch::kCPU);
  const void* const address = some.on_device().data_ptr();
  for (const bool first : {true, false}) {
    const auto values = torch::tensor({first, true});
    some.send(values);
    EXPECT_TRUE(torch::equal(some.on_device(), values));
    EXPECT_EQ(some.on_device().data_ptr(), address);
  }
}

TEST(PackedInput, PartsLieBehindOneAnotherAndTravelTogether) {
  PackedInput input;
  const size_t numbers = input.add(2), none = input.add(0), one = input.add(1);
  input.allocate(torch::kFloat32, torch::kCPU);
  input.next(numbers).fill_(7);
  input.next(one).fill_(9);
  EXPECT_EQ(input.next(none).numel(), 0);
  EXPECT_EQ(input.on_device(one).item<float>(), 0);  // not before send()
  input.send();
  EXPECT_TRUE(torch::equal(input.on_device(numbers), torch::full({2}, 7.0F)));
  EXPECT_EQ(input.on_device(one).item<float>(), 9);
  const auto* const begin = input.on_device(numbers).const_data_ptr<float>();
  EXPECT_EQ(input.on_device(one).const_data_ptr<float>(), begin + 2);
}

}  // namespace
}  // namespace scorenet::train
