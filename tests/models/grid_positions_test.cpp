#include "models/grid_positions.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace scorenet::models {
namespace {

TEST(GridPositions, TellRowsFromColumns) {
  const auto p = grid_positions({3, 4}, Boundaries(2), 8);
  ASSERT_EQ(p.sizes(), (std::vector<int64_t>{12, 8}));
  // Token 6 is row 1, column 2: sin 1, sin 0.01, cos 1, cos 0.01, then the same of 2.
  EXPECT_NEAR(p[6][0].item<double>(), std::sin(1.0), 1e-12);
  EXPECT_NEAR(p[6][2].item<double>(), std::cos(1.0), 1e-12);
  EXPECT_NEAR(p[6][4].item<double>(), std::sin(2.0), 1e-12);
  EXPECT_NEAR(p[6][7].item<double>(), std::cos(0.02), 1e-12);
}

TEST(GridPositions, OfARingAreItsHarmonics) {
  // Five places of a line and six of a ring share 10 channels: four each, two stay zero.
  const auto p = grid_positions({5, 6}, {Boundary::zeros, Boundary::periodic}, 10);
  ASSERT_EQ(p.sizes(), (std::vector<int64_t>{30, 10}));
  const auto token = p[2 * 6 + 4];  // place 2 of the line, place 4 of the ring
  const double turn = 2 * M_PI * 4 / 6;
  const std::vector<double> expected{std::sin(2.0),
                                     std::sin(0.02),
                                     std::cos(2.0),
                                     std::cos(0.02),
                                     std::sin(turn),
                                     std::sin(2 * turn),
                                     std::cos(turn),
                                     std::cos(2 * turn),
                                     0,
                                     0};
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(token[static_cast<int64_t>(i)].item<double>(), expected[i], 1e-12) << i;
}

// Twelve tokens each time: only the grid and the type tell the calls apart.
TEST(GridPositions, AreThoseOfEachCallsGridAndType) {
  const Boundaries boundaries(2);
  GridPositions positions(boundaries, 8);
  const auto tokens = torch::zeros({1, 12, 8});
  for (const auto dtype : {torch::kFloat32, torch::kFloat64, torch::kBFloat16}) {
    for (const auto& grid : std::vector<std::vector<int64_t>>{{3, 4}, {2, 6}, {3, 4}}) {
      const auto made = positions.of(grid, tokens.to(dtype));
      EXPECT_TRUE(torch::equal(made, grid_positions(grid, boundaries, 8).to(dtype))) << grid;
      EXPECT_TRUE(made.is_same(positions.of(grid, tokens.to(dtype)))) << "not kept";
    }
  }
}

}  // namespace
}  // namespace scorenet::models
