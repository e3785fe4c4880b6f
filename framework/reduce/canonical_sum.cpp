#include "framework/reduce/canonical_sum.hpp"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "framework/core/check.hpp"
#include "framework/core/error.hpp"

namespace scorenet::reduce {
namespace {

// Elements that travel at a time: bounds the extra memory to this times the rank count.
constexpr int64_t kPiece = int64_t{1} << 20;

comm::Buffer buffer_of(const torch::Tensor& tensor) {
  return {
      tensor.data_ptr(), tensor.numel(),
      tensor.scalar_type() == torch::kFloat64 ? comm::DataType::float64 : comm::DataType::float32};
}

/// rows (n, K), n a power of two, summed along a binary tree into row 0.
void tree_sum(const torch::Tensor& rows) {
  for (int64_t stride = 1; stride < rows.size(0); stride *= 2) {
    for (int64_t r = 0; r < rows.size(0); r += 2 * stride) rows[r].add_(rows[r + stride]);
  }
}

}  // namespace

CanonicalSum::CanonicalSum(torch::Tensor flat_gradient, comm::Communicator& communicator,
                           int64_t virtual_shards)
    : flat_(std::move(flat_gradient)), communicator_(communicator) {
  const int64_t n = communicator.size();
  if (virtual_shards < 1 || !std::has_single_bit(uint64_t(virtual_shards)) ||
      virtual_shards % n != 0) {
    throw ConfigError("comm.virtual_shards = " + std::to_string(virtual_shards) + " with " +
                      std::to_string(n) +
                      " ranks: must be a power of two that the rank count divides.");
  }
  if (flat_.dim() != 1 || !flat_.is_contiguous() ||
      (flat_.scalar_type() != torch::kFloat32 && flat_.scalar_type() != torch::kFloat64)) {
    throw ShapeError("canonical sum: flat gradient of shape " + shape_string(flat_.sizes()) +
                     "; expected a contiguous float32 or float64 vector.");
  }
  count_ = virtual_shards / n;
  first_ = communicator.rank() * count_;
  levels_.resize(size_t(std::bit_width(uint64_t(count_))));
}

void CanonicalSum::add_shard() {
  if (added_ == count_) {
    throw CommError("canonical sum: all " + std::to_string(count_) +
                    " shards of this rank have been added already.");
  }
  ++added_;
  torch::Tensor sum = flat_.clone();
  // As a binary counter adds one: two sums of 2^k shards make one of 2^(k+1). So the order of the
  // additions is that of the tree, and at most log2 of the shards are kept at a time.
  size_t level = 0;
  for (; levels_[level].defined(); ++level) {
    sum = std::exchange(levels_[level], torch::Tensor()).add_(sum);  // earlier shards on the left
  }
  levels_[level] = sum;
}

void CanonicalSum::finish() {
  if (added_ != count_) {
    throw CommError("canonical sum: " + std::to_string(added_) + " of " + std::to_string(count_) +
                    " shards of this rank were added.");
  }
  added_ = 0;
  const torch::Tensor mine = std::exchange(levels_.back(), torch::Tensor());
  const int64_t n = communicator_.size();
  if (n == 1) {  // a single process has no communicator for device memory, and needs none
    flat_.copy_(mine);
    return;
  }
  // The upper part of the tree. An all-reduce would add the ranks' sums in an order of its own, so
  // every rank gets all of them and adds them by the tree itself.
  for (int64_t first = 0; first < flat_.numel(); first += kPiece) {
    const int64_t size = std::min(kPiece, flat_.numel() - first);
    const torch::Tensor rows = torch::empty({n, size}, flat_.options());
    communicator_
        .all_gather(buffer_of(mine.narrow(0, first, size)), buffer_of(rows), "canonical sum")
        .wait();
    tree_sum(rows);
    flat_.narrow(0, first, size).copy_(rows[0]);
  }
}

}  // namespace scorenet::reduce
