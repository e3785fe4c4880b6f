// LibTorch's own gradient reducer (c10d::Reducer, the core of DistributedDataParallel)
// over our Communicator.
//
// For tests to compare with, and for benchmarks; training does not use it. It averages instead of
// summing, owns the gradients' memory, and has no stable interface. Written against LibTorch 2.13;
// the duties of DDP's Python wrapper (reversed bucket list, rebuild_buckets, prepare_for_*) are
// done here. DDP: Li et al. 2020, arXiv:2006.15704.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "framework/comm/communicator.hpp"

namespace scorenet::reduce {

struct C10dOptions {
  int64_t cap_bytes = int64_t{25} << 20;  // DDP's defaults
  int64_t first_bytes = int64_t{1} << 20;
};

class C10dReducer {
 public:
  /// parameters: leaves that require grad, registration order; every one must get a gradient in
  /// every backward. `communicator` must outlive it and allow calls from another thread.
  C10dReducer(std::vector<torch::Tensor> parameters, comm::Communicator& communicator,
              const C10dOptions& options = {});
  ~C10dReducer();

  /// Zeroes the gradients in place (they are views of buckets; optimizer.zero_grad() would throw).
  void zero_gradients();
  /// Before a backward whose gradients are to be *averaged* over the ranks; when it
  /// returns they are.
  void begin();
  /// All-reduces since construction, and their bytes; rank zero's broadcast of the observed
  /// order not counted.
  int64_t calls() const;
  int64_t bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace scorenet::reduce
