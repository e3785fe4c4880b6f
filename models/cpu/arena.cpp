#include "models/cpu/arena.hpp"

#include <algorithm>
#include <utility>

namespace scorenet::models::cpu {

torch::Tensor Arenas::lend(int64_t floats) const {
  torch::Tensor memory;
  {
    const std::lock_guard<std::mutex> lock(free_->mutex);
    auto& free = free_->memory;
    const auto fits = std::find_if(free.begin(), free.end(),
                                   [&](const torch::Tensor& t) { return t.numel() >= floats; });
    if (fits != free.end()) {
      memory = *fits;
      free.erase(fits);
    } else if (!free.empty()) {
      free.pop_back();  // too small: a larger one takes its place
    }
  }
  if (!memory.defined()) memory = torch::zeros({floats}, torch::kFloat32);
  const auto give_back = [weak = std::weak_ptr<Free>(free_), memory](void*) {
    const auto lender = weak.lock();
    if (lender == nullptr) return;
    const std::lock_guard<std::mutex> lock(lender->mutex);
    lender->memory.push_back(memory);
  };
  return torch::from_blob(memory.data_ptr(), {memory.numel()}, give_back, torch::kFloat32);
}

}  // namespace scorenet::models::cpu
