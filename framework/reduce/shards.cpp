#include "framework/reduce/shards.hpp"

#include <algorithm>

#include "framework/core/error.hpp"
#include "framework/reduce/flat_layout.hpp"

namespace scorenet::reduce {
namespace {

comm::Buffer buffer_of(const torch::Tensor& tensor, int64_t offset, int64_t count) {
  return {tensor.data_ptr<float>() + offset, count, comm::DataType::float32};
}

}  // namespace

int64_t shardable_multiple(int ranks) { return ranks * kFlatAlignment; }

std::vector<OwnedRange> within(const std::vector<OwnedRange>& owned, const Segment& stretch) {
  std::vector<OwnedRange> found;
  for (const OwnedRange& range : owned) {
    const int64_t first = std::max(stretch.offset, range.offset);
    const int64_t last = std::min(stretch.offset + stretch.count, range.offset + range.count);
    if (first < last)
      found.push_back({first, last - first, range.part_offset + first - range.offset});
  }
  return found;
}

Shards::Shards(const std::vector<Segment>& segments, comm::Communicator& communicator)
    : segments_(segments), communicator_(communicator) {
  for (const Segment& segment : segments) {
    if (segment.count % communicator.size() != 0) {
      throw ShapeError("shards: a segment of " + std::to_string(segment.count) +
                       " elements cannot be shared out evenly over " +
                       std::to_string(communicator.size()) + " ranks.");
    }
    const int64_t share = segment.count / communicator.size();
    owned_.push_back({segment.offset + communicator.rank() * share, share, count_});
    count_ += share;
  }
}

void Shards::take(const torch::Tensor& whole, const torch::Tensor& part) const {
  const torch::NoGradGuard no_grad;
  for (const OwnedRange& range : owned_) {
    part.narrow(0, range.part_offset, range.count)
        .copy_(whole.narrow(0, range.offset, range.count));
  }
}

comm::Work Shards::reduce(size_t s, const torch::Tensor& whole, const torch::Tensor& part,
                          const std::string& tag) const {
  return communicator_.reduce_scatter(buffer_of(whole, segments_[s].offset, segments_[s].count),
                                      buffer_of(part, owned_[s].part_offset, owned_[s].count),
                                      comm::ReduceOp::sum, tag);
}

void Shards::gather(const torch::Tensor& part, const torch::Tensor& whole,
                    const std::string& tag) const {
  for (comm::Work& work : start_gather(part, whole, tag)) work.wait();
}

std::vector<comm::Work> Shards::start_gather(const torch::Tensor& part, const torch::Tensor& whole,
                                             const std::string& tag) const {
  std::vector<comm::Work> work;
  for (size_t s = 0; s < segments_.size(); ++s) {
    work.push_back(
        communicator_.all_gather(buffer_of(part, owned_[s].part_offset, owned_[s].count),
                                 buffer_of(whole, segments_[s].offset, segments_[s].count), tag));
  }
  return work;
}

}  // namespace scorenet::reduce
