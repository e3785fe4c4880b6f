// The weights of a convolution as its taps read them, and their gradient from sums of taps.
//
// Everything is in blocks of 16 positions: the results of a product, which are output channels
// forward and input channels backward.
#pragma once

#include <memory>
#include <vector>

#include "models/cpu/convolution.hpp"

namespace scorenet::models::cpu {

/// Kernels of 16 outputs: number l of entry e of input channel c at 16 (entries c + e) + l. Null if
/// the block has no channel.
std::unique_ptr<float[]> kernels_of_outputs(const ConvolutionShape& shape,
                                            const std::vector<const float*>& parameters,
                                            int64_t block);

/// Of each tap the weights of those outputs: (taps, depth, 16), position i of `in` in row i. What
/// holds no channel is left as it is.
void tap_weights_of_outputs(const ConvolutionShape& shape, const float* kernels,
                            const std::vector<TapRule>& taps, int64_t depth, float* to);

/// The sum of a tap's entries, of which `kernels` has 16 numbers each.
void sum_entries(const float* kernels, const std::vector<int64_t>& entries, float* to);

/// The same for 16 positions of `in`: (taps, depth, 16), output position o in row o.
void tap_weights_of_inputs(const ConvolutionShape& shape,
                           const std::vector<const float*>& parameters, int64_t block,
                           const std::vector<TapRule>& taps, int64_t depth, float* to);

/// Kernels of the inputs of a block by the output of one part's row: number l of entry e at
/// 16 e + l.
void kernels_of_inputs(const ConvolutionShape& shape, const float* row, int64_t block, float* to);

/// The gradients of the weights from (taps, blocks of out_channels, rows, 16): position i in row i.
void write_tap_gradient(const ConvolutionShape& shape, const std::vector<GradientTap>& taps,
                        const float* sums, int64_t rows, const std::vector<float*>& gradients);

/// Kernels of the inputs of a block by all outputs, (output blocks, 16 entries, 16), to the
/// gradients of the weights. Entry e of the block's channel j stands in row entries j + e.
void write_kernels(const ConvolutionShape& shape, int64_t block, const std::vector<float>& kernels,
                   const std::vector<float*>& gradients);

/// The input channels of a block of 16 positions.
struct ChannelRun {
  int64_t first = 0, count = 0;
};
ChannelRun channels_of_block(const ConvolutionShape& shape, int64_t block);

}  // namespace scorenet::models::cpu
