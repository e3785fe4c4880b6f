#include "framework/data/block_cache.hpp"

namespace scorenet::data {

torch::Tensor BlockCache::find(int64_t file, int64_t block) {
  const auto place = places_.find({file, block});
  if (place == places_.end()) return {};
  kept_.splice(kept_.begin(), kept_, place->second);
  return kept_.front().values;
}

void BlockCache::put(int64_t file, int64_t block, torch::Tensor values) {
  kept_.push_front({{file, block}, std::move(values)});
  places_[kept_.front().key] = kept_.begin();
  if (static_cast<int64_t>(kept_.size()) <= most_) return;
  places_.erase(kept_.back().key);
  kept_.pop_back();
}

}  // namespace scorenet::data
