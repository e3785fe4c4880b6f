// Memory that is used again from pass to pass. It is zero before its first use, and then holds what
// its last borrower left. So the zeros around images, which nobody overwrites, stay there.
#pragma once

#include <torch/types.h>

#include <memory>
#include <mutex>
#include <vector>

namespace scorenet::models::cpu {

/// Zeros, on large pages where the system has them. Kernels jump between planes that lie far apart,
/// and a network's memory has more small pages than a processor keeps the addresses of.
torch::Tensor zeros_on_large_pages(int64_t floats);

class Arenas {
 public:
  Arenas() : free_(std::make_shared<Free>()) {}

  /// At least `floats` numbers, lent until the last copy of the tensor is gone. Threads may call at
  /// once. The lender may be gone before what it lent.
  torch::Tensor lend(int64_t floats) const;

 private:
  struct Free {
    std::mutex mutex;
    std::vector<torch::Tensor> memory;
  };
  std::shared_ptr<Free> free_;
};

}  // namespace scorenet::models::cpu
