#include "framework/core/check.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace scorenet {
namespace {

TEST(Check, PerExampleValuesMeetAnyNumberOfDimensions) {
  const auto v = torch::tensor({1.0, 2.0});
  EXPECT_EQ(broadcast_to_batch(v, torch::zeros({2, 3})).sizes(), (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(broadcast_to_batch(v, torch::zeros({2, 3, 4, 5})).sizes(),
            (std::vector<int64_t>{2, 1, 1, 1}));
}

TEST(Check, AnErrorNamesBothShapes) {
  try {
    check_same_shape(torch::zeros({2, 3}), torch::zeros({3, 2}), "loss");
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_THAT(e.what(), testing::AllOf(testing::HasSubstr("loss"), testing::HasSubstr("(2, 3)"),
                                         testing::HasSubstr("(3, 2)")));
    EXPECT_EQ(e.exit_code(), ExitCode::usage);
  }
  EXPECT_THROW(broadcast_to_batch(torch::zeros({3}), torch::zeros({2, 4})), ShapeError);
}

TEST(Check, SumAndDimensionsArePerExample) {
  EXPECT_TRUE(torch::equal(sum_per_example(torch::ones({2, 3, 4})), torch::tensor({12.0f, 12.0f})));
  EXPECT_EQ(dims_per_example(torch::ones({2, 3, 4})), 12);
  EXPECT_EQ(dims_per_example(torch::ones({2})), 1);
}

}  // namespace
}  // namespace scorenet
