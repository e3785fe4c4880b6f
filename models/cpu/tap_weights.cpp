#include "models/cpu/tap_weights.hpp"

#include <algorithm>

#include "models/cpu/kernel_lanes.hpp"

namespace scorenet::models::cpu {
namespace {

// The part that holds the output positions of a block, or null.
const Part* part_of_block(const ConvolutionShape& shape, int64_t block) {
  for (const Part& part : shape.out) {
    const int64_t first = block * kBlock - part.position;
    if (first >= 0 && first < part.channels) return &part;
  }
  return nullptr;
}

void add_block(const float* from, float* to) {
  for (int64_t l = 0; l < kBlock; ++l) to[l] += from[l];
}

}  // namespace

void sum_entries(const float* kernels, const std::vector<int64_t>& entries, float* to) {
  std::copy_n(kernels + entries[0] * kBlock, kBlock, to);
  for (size_t e = 1; e < entries.size(); ++e) add_block(kernels + entries[e] * kBlock, to);
}

ChannelRun channels_of_block(const ConvolutionShape& shape, int64_t block) {
  const auto first = shape.in.begin() + block * kBlock;
  const auto last = shape.in.end() - first < kBlock ? shape.in.end() : first + kBlock;
  const int64_t count = std::count_if(first, last, [](int64_t c) { return c >= 0; });
  return {*first, count};
}

std::unique_ptr<float[]> kernels_of_outputs(const ConvolutionShape& shape,
                                            const std::vector<const float*>& parameters,
                                            int64_t block) {
  const Part* part = part_of_block(shape, block);
  if (part == nullptr) return nullptr;
  const int64_t numbers = shape.real_in_channels() * kernel_entries(shape.form);
  const int64_t first = block * kBlock - part->position;
  auto kernels = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(numbers * kBlock));
  gather_lanes(parameters[static_cast<size_t>(part->weight)] + first * numbers, numbers,
               std::min(kBlock, part->channels - first), numbers, kernels.get());
  return kernels;
}

void tap_weights_of_outputs(const ConvolutionShape& shape, const float* kernels,
                            const std::vector<TapRule>& taps, int64_t depth, float* to) {
  const int64_t entries = kernel_entries(shape.form);
  for (size_t i = 0; i < shape.in.size(); ++i) {
    if (shape.in[i] < 0) continue;
    float* row = to + static_cast<int64_t>(i) * kBlock;
    for (const TapRule& tap : taps) {
      sum_entries(kernels + shape.in[i] * entries * kBlock, tap.entries, row);
      row += depth * kBlock;
    }
  }
}

void kernels_of_inputs(const ConvolutionShape& shape, const float* row, int64_t block, float* to) {
  const int64_t entries = kernel_entries(shape.form);
  const ChannelRun run = channels_of_block(shape, block);
  if (run.count > 0) {
    gather_lanes(row + run.first * entries, entries, run.count, entries, to);
  } else {
    std::fill_n(to, entries * kBlock, 0.0f);
  }
}

void tap_weights_of_inputs(const ConvolutionShape& shape,
                           const std::vector<const float*>& parameters, int64_t block,
                           const std::vector<TapRule>& taps, int64_t depth, float* to) {
  const int64_t numbers = shape.real_in_channels() * kernel_entries(shape.form);
  float kernels[9 * kBlock];
  for (const Part& part : shape.out) {
    for (int64_t o = 0; o < part.channels; ++o) {
      const float* row = parameters[static_cast<size_t>(part.weight)] + o * numbers;
      kernels_of_inputs(shape, row, block, kernels);
      float* of_tap = to + (part.position + o) * kBlock;
      for (const TapRule& tap : taps) {
        sum_entries(kernels, tap.entries, of_tap);
        of_tap += depth * kBlock;
      }
    }
  }
}

void write_kernels(const ConvolutionShape& shape, int64_t block, const std::vector<float>& kernels,
                   const std::vector<float*>& gradients) {
  const int64_t entries = kernel_entries(shape.form);
  const int64_t numbers = shape.real_in_channels() * entries;
  const ChannelRun run = channels_of_block(shape, block);
  if (run.count == 0) return;
  for (const Part& part : shape.out) {
    float* to = gradients[static_cast<size_t>(part.weight)] + run.first * entries;
    for (int64_t o = 0; o < part.channels; o += kBlock) {
      const int64_t of_block = (part.position + o) / kBlock * kBlock * entries * kBlock;
      scatter_lanes(kernels.data() + of_block, numbers, std::min(kBlock, part.channels - o),
                    run.count * entries, to + o * numbers);
    }
  }
}

void write_tap_gradient(const ConvolutionShape& shape, const std::vector<GradientTap>& taps,
                        const float* sums, int64_t rows, const std::vector<float*>& gradients) {
  const int64_t entries = kernel_entries(shape.form), out = shape.out_channels;
  const int64_t blocks = blocks_of(static_cast<int64_t>(shape.in.size()));
  std::vector<float> kernels(static_cast<size_t>(out * entries * kBlock));
  for (int64_t block = 0; block < blocks; ++block) {
    const ChannelRun run = channels_of_block(shape, block);
    std::fill(kernels.begin(), kernels.end(), 0.0f);
    for (int64_t j = 0; j < run.count; ++j) {
      const float* of_tap = sums + (block * kBlock + j) * kBlock;
      for (const GradientTap& tap : taps) {
        for (int64_t o = 0; o < out; o += kBlock) {
          float* column = kernels.data() + (o * entries + j * entries) * kBlock;
          for (const int64_t e : tap.entries) add_block(of_tap + o * rows, column + e * kBlock);
        }
        of_tap += rows * out;
      }
    }
    write_kernels(shape, block, kernels, gradients);
  }
}

}  // namespace scorenet::models::cpu
