#include "framework/evaluate/shared_paths.hpp"

#include "framework/core/tensor_digest.hpp"

namespace scorenet::evaluate {

SharedPaths::Paths SharedPaths::of(const torch::Tensor& x, const std::vector<int64_t>& slots,
                                   const std::function<Paths()>& draw) {
  const std::string key = digest_of({x, torch::tensor(slots)});
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = drawn_.find(key); found != drawn_.end()) return found->second;
  }
  Paths paths = draw();
  const std::lock_guard lock(mutex_);
  return drawn_.emplace(key, std::move(paths)).first->second;
}

}  // namespace scorenet::evaluate
