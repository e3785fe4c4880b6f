// Winograd's F(2x2, 3x3) (Lavin and Gray 2015, 1509.09308, section 4.1): a 2x2 tile of a 3x3
// convolution from a 4x4 tile of its input by 16 products of channels in place of 36.
//
//   result    Y  = A^T [(G k G^T) . (B^T x B)] A
//   gradient  dk = G^T [(B^T x B) . (A dY A^T)] G,  summed over tiles before G
//
// The 16 numbers of a tile stand in 16 planes of (tiles, channels): each is one matrix product.
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

constexpr int64_t kWinogradPlanes = 16;

/// A row of tiles of x's first image: tile i begins at column 2 i of the row that `corner` begins.
/// v: plane p of tile i at v + p plane + i channels.
struct TileRow {
  int64_t tiles = 0;
  int64_t channels = 0;
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
