// Blocks of samples that were read and may be asked for again: least recently used out first.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <list>
#include <map>
#include <utility>

namespace scorenet::data {

class BlockCache {
 public:
  /// Of how many blocks, at least one.
  explicit BlockCache(int64_t blocks) : most_(blocks < 1 ? 1 : blocks) {}

  int64_t most() const { return most_; }
  /// Undefined where it is not kept.
  torch::Tensor find(int64_t file, int64_t block);
  void put(int64_t file, int64_t block, torch::Tensor values);

 private:
  using Key = std::pair<int64_t, int64_t>;
  struct Kept {
    Key key;
    torch::Tensor values;
  };

  int64_t most_;
  std::list<Kept> kept_;  // most recently used first
  std::map<Key, std::list<Kept>::iterator> places_;
};

}  // namespace scorenet::data
