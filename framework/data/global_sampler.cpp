#include "framework/data/global_sampler.hpp"

#include <algorithm>
#include <string>

#include "framework/core/error.hpp"
#include "framework/core/random.hpp"

namespace scorenet::data {
namespace {

// (epoch, window) in one number; window 0 is the permutation of the blocks themselves.
RandomKey key_of(uint64_t seed, int64_t epoch, int64_t window) {
  return {seed, RandomStream::shuffle,
          (static_cast<uint64_t>(window) << 32) | static_cast<uint64_t>(epoch)};
}

void shuffle_window(std::vector<int64_t>& order, size_t begin, const RandomKey& key) {
  const auto unshuffled =
      std::vector<int64_t>(order.begin() + static_cast<std::ptrdiff_t>(begin), order.end());
  const auto places = permutation(key, static_cast<int64_t>(unshuffled.size()));
  for (size_t i = 0; i < places.size(); ++i) {
    order[begin + i] = unshuffled[static_cast<size_t>(places[i])];
  }
}

}  // namespace

std::vector<int64_t> epoch_order(int64_t size, const ShuffleOptions& options, int64_t epoch) {
  if (size < 0 || options.block_rows < 1 || options.window_blocks < 1) {
    throw ConfigError("sample order: size " + std::to_string(size) + ", block of " +
                      std::to_string(options.block_rows) + " samples, window of " +
                      std::to_string(options.window_blocks) +
                      " blocks: expected a size >= 0 and the others >= 1.");
  }
  if (!options.shuffle) return slot_range(0, size);
  if (options.block_rows == 1) return permutation(key_of(options.seed, epoch, 0), size);
  const int64_t blocks = (size + options.block_rows - 1) / options.block_rows;
  const auto block_order = permutation(key_of(options.seed, epoch, 0), blocks);
  std::vector<int64_t> order;
  order.reserve(static_cast<size_t>(size));
  for (int64_t first = 0, window = 1; first < blocks; first += options.window_blocks, ++window) {
    const size_t begin = order.size();
    for (int64_t i = first; i < std::min(first + options.window_blocks, blocks); ++i) {
      const int64_t row = block_order[static_cast<size_t>(i)] * options.block_rows;
      for (int64_t j = row; j < std::min(row + options.block_rows, size); ++j) order.push_back(j);
    }
    shuffle_window(order, begin, key_of(options.seed, epoch, window));
  }
  return order;
}

GlobalSampler::GlobalSampler(int64_t size, const ShuffleOptions& options)
    : size_(size), options_(options) {
  if (size < 1) throw ConfigError("sample order: no samples. Give a data set with at least one.");
}

std::vector<int64_t> GlobalSampler::indices(int64_t first, int64_t count) {
  std::vector<int64_t> result;
  result.reserve(static_cast<size_t>(count));
  for (int64_t position = first; position < first + count;) {
    if (epoch_of(position) != epoch_) {
      epoch_ = epoch_of(position);
      order_ = epoch_order(size_, options_, epoch_);
    }
    const int64_t begin = position % size_;
    const int64_t end = std::min(size_, begin + first + count - position);
    result.insert(result.end(), order_.begin() + begin, order_.begin() + end);
    position += end - begin;
  }
  return result;
}

}  // namespace scorenet::data
