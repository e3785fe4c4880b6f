// Weights in the order in which a convolution's taps read them, and the gradient of the weights
// from sums in that order.
//
// Both come in blocks of 16 positions of the product's result: output channels in a forward pass,
// input channels in the gradient of the input. An "entry" is one of the 9 numbers of a 3x3 kernel,
// or the only one of a 1x1 kernel.
#pragma once

#include <memory>
#include <vector>

#include "models/cpu/convolution.hpp"

namespace scorenet::models::cpu {

/// The kernels of the 16 outputs of a block: entry e for input channel c is the 16 numbers at
/// 16 (entries c + e). Null if the block has no channel.
std::unique_ptr<float[]> kernels_of_outputs(const ConvolutionShape& shape,
                                            const std::vector<const float*>& parameters,
                                            int64_t block);

/// From these, the weights of each tap: (taps, depth, 16), with position i of `in` in row i. Rows
/// of positions without a channel are not written.
void tap_weights_of_outputs(const ConvolutionShape& shape, const float* kernels,
                            const std::vector<TapRule>& taps, int64_t depth, float* to);

/// to (16) = the sum of a tap's entries of `kernels` (entries, 16).
void sum_entries(const float* kernels, const std::vector<int64_t>& entries, float* to);

/// The weights of each tap for the gradient of the input, for a block of 16 positions of `in`:
/// (taps, depth, 16), with output position o in row o.
void tap_weights_of_inputs(const ConvolutionShape& shape,
                           const std::vector<const float*>& parameters, int64_t block,
                           const std::vector<TapRule>& taps, int64_t depth, float* to);

/// The kernels of the 16 inputs of a block for one output channel, whose weights begin at `row`:
/// entry e is the 16 numbers at to + 16 e.
void kernels_of_inputs(const ConvolutionShape& shape, const float* row, int64_t block, float* to);

/// The gradients of the weights from sums (taps, blocks of outputs, rows, 16), with position i of
/// `in` in row i.
void write_tap_gradient(const ConvolutionShape& shape, const std::vector<GradientTap>& taps,
                        const float* sums, int64_t rows, const std::vector<float*>& gradients);

/// Writes the gradients of a block's 16 inputs for all outputs. kernels: (blocks of outputs,
/// 16 entries, 16), with entry e of the block's input j in row entries j + e.
void write_kernels(const ConvolutionShape& shape, int64_t block, const std::vector<float>& kernels,
                   const std::vector<float*>& gradients);

/// The input channels that a block of 16 positions holds: they are consecutive.
struct ChannelRun {
  int64_t first = 0, count = 0;
};
ChannelRun channels_of_block(const ConvolutionShape& shape, int64_t block);

}  // namespace scorenet::models::cpu
