// EDM's augmentation (Karras et al. 2022, 2206.00364, appendix F.2, table 6): geometric changes of
// training images, which the network is told, so that samples do not show them.
//
//     change        drawn                          applied with    told
//     x-flip        a in {0, 1}                    1               a
//     y-flip        a in {0, 1}                    P               a
//     scaling       2^(0.2 a), a ~ N(0, 1)         P               a
//     rotation      theta ~ U(-pi, pi)             P               cos theta - 1, sin theta
//     stretching    2^(0.2 a) along phi,           P               a cos phi, a sin phi
//                   2^(-0.2 a) across it,
//                   phi ~ U(-pi, pi)
//     translation   a / 8 of the width, b / 8 of   P               a, b
//                   the height, a, b ~ N(0, 1)
//
// in this order; what is not applied is told as 0. Angles turn x (to the right) towards y (down).
// EDM resamples with a sym6 wavelet filter at twice the resolution. Here it is Keys' cubic
// convolution (1981, a = -1/2), which leaves flips and whole translations exact, and which does not
// filter where an image shrinks. Beyond its border an image is mirrored.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace scorenet::data {

/// Numbers that a network is told.
inline constexpr int64_t kAugmentNumbers = 9;

/// The changes of one image; all 0: none.
struct Augmentation {
  bool flip_x = false, flip_y = false;
  double scale = 0;                         // a
  double rotation = 0;                      // theta
  double stretch = 0, direction = 0;        // a, phi
  double translate_x = 0, translate_y = 0;  // a, b
};

/// For each slot of the global batch: a function of (seed, step, slot). probability: P in [0, 1].
std::vector<Augmentation> draw_augmentations(double probability, uint64_t seed, int64_t step,
                                             const std::vector<int64_t>& slots);

/// What the network is told: (B, kAugmentNumbers) float32.
torch::Tensor told_of(const std::vector<Augmentation>& augmentations);

/// examples: (B, C, H, W) of any real type. Returns them changed, float32. Images that are flipped
/// at most keep their values.
torch::Tensor augmented(const torch::Tensor& examples,
                        const std::vector<Augmentation>& augmentations);

}  // namespace scorenet::data
