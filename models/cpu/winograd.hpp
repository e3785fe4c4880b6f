// Winograd's F(m x m, 3x3) for m = 2 and 4 (Lavin and Gray 2015, 1509.09308, section 4): an m x m
// tile of a 3x3 convolution from an (m + 2) x (m + 2) tile of its input, by (m + 2)^2 products of
// channels in place of 9 m^2: 16 for 36, or 36 for 144.
//
//   result    Y  = A^T [(G k G^T) . (B^T x B)] A
//   gradient  dk = G^T [(B^T x B) . (A dY A^T)] G,  summed over tiles before G
//
// The numbers of a tile stand in planes of (tiles, channels): each plane is one matrix product.
// The matrices are those of polynomials known at 0, at infinity and at +-1 (m = 2), or at +-2/3 and
// +-3/2 (m = 4). With these, results are three times as far from the exact ones as with m = 2,
// and with the usual +-1 and +-2, six times.
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

/// For tiles of `side` = m pixels.
constexpr int64_t winograd_planes(int64_t side) { return (side + 2) * (side + 2); }

/// Where a polynomial is known when m = 4: at 0, +-kNear, +-kFar and infinity.
constexpr float kNear = 2.0f / 3, kFar = 1.5f;

/// A row of tiles of x's first image: tile i begins at column side i of the row that `corner`
/// begins. v: plane p of tile i at v + p plane + i step.
struct TileRow {
  int64_t side = 2;  // or 4
  int64_t tiles = 0;
  int64_t channels = 0;
  int64_t step = 0;
  int64_t plane = 0;
};

/// B^T x B; corner: pixel (-1, -1) of the tile (0, 0).
void winograd_input(const TileRow& row, const float* corner, int64_t step, int64_t x_row, float* v);
/// A d A^T; corner: pixel (0, 0) of tile (0, 0).
void winograd_gradient(const TileRow& row, const float* corner, int64_t step, int64_t d_row,
                       float* v);
/// A^T m A + add + residual, to the pixels of the tiles. The fields are those of Target.
struct WinogradTarget {
  float* corner = nullptr;
  int64_t step = 0, row = 0;
  const float* add = nullptr;
  const float* residual = nullptr;
  int64_t residual_step = 0, residual_row = 0;
};
void winograd_output(const TileRow& row, const float* m, const WinogradTarget& target);

}  // namespace scorenet::models::cpu
