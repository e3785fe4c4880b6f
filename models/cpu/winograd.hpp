// The transforms of Winograd's convolution F(m x m, 3x3), m = 2 or 4 (Lavin and Gray 2015,
// arXiv:1509.09308, section 4).
//
// An m x m tile of the result comes from an (m + 2) x (m + 2) tile of the input by (m + 2)^2
// products of channels, where the plain sum takes 9 m^2: 16 in place of 36, or 36 in place of 144.
//
//   result    Y  = A^T [(G k G^T) . (B^T x B)] A
//   gradient  dk = G^T [(B^T x B) . (A dY A^T)] G,  summed over tiles before the outer G
//
// Number p of every transformed tile stands in plane p, a matrix (tiles, channels): then each plane
// is one matrix product. winograd_weights.hpp has G.
//
// The matrices evaluate polynomials at 0, at infinity and at +-1 (m = 2), or at +-2/3 and +-3/2
// (m = 4). Rounding decides these points: results with m = 4 are three times as far from the exact
// ones as with m = 2, and would be more than six times as far with the usual +-1 and +-2
// (tests/models/cpu/winograd_test.cpp measures both).
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

/// For tiles of `side` = m pixels.
constexpr int64_t winograd_planes(int64_t side) { return (side + 2) * (side + 2); }

/// The points for m = 4 beside 0 and infinity: +-kNear and +-kFar.
constexpr float kNear = 2.0f / 3, kFar = 1.5f;

/// A row of tiles of one image. Tile i begins `side` i pixels to the right of the corner that each
/// call is given, and its number of plane p is at v + p plane + i step, for all channels.
struct TileRow {
  int64_t side = 2;  // m: 2 or 4
  int64_t tiles = 0;
  int64_t channels = 0;  // whole blocks
  int64_t step = 0;      // in floats, as plane
  int64_t plane = 0;
};

/// v = B^T x B. corner: x's pixel (-1, -1) of tile (0, 0). step, x_row: floats from pixel to pixel
/// and from row to row.
void winograd_input(const TileRow& row, const float* corner, int64_t step, int64_t x_row, float* v);

/// v = A d A^T. corner: d's pixel (0, 0) of tile (0, 0).
void winograd_gradient(const TileRow& row, const float* corner, int64_t step, int64_t d_row,
                       float* v);

/// Where results go, and what is added to them: as Target in tiles.hpp.
struct WinogradTarget {
  float* corner = nullptr;  // pixel (0, 0) of tile (0, 0)
  int64_t step = 0, row = 0;
  const float* add = nullptr;
  const float* residual = nullptr;
  int64_t residual_step = 0, residual_row = 0;
};
/// The tiles' pixels = A^T m A + add + residual.
void winograd_output(const TileRow& row, const float* m, const WinogradTarget& target);

}  // namespace scorenet::models::cpu
