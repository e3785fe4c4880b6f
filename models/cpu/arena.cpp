#include "models/cpu/arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

namespace scorenet::models::cpu {

torch::Tensor zeros_on_large_pages(int64_t floats) {
#ifdef MADV_HUGEPAGE
  const auto bytes = static_cast<size_t>(floats) * sizeof(float);
  constexpr size_t kSmall = size_t{4} << 20;  // of a few large pages
  void* const memory = bytes < kSmall ? MAP_FAILED
                                      : mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory != MAP_FAILED) {
    madvise(memory, bytes, MADV_HUGEPAGE);  // refused, it changes nothing
    return torch::from_blob(
        memory, {floats}, [bytes](void* p) { munmap(p, bytes); }, torch::kFloat32);
  }
#endif
  return torch::zeros({floats}, torch::kFloat32);
}

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
  if (!memory.defined()) memory = zeros_on_large_pages(floats);
  const auto give_back = [weak = std::weak_ptr<Free>(free_), memory](void*) {
    const auto lender = weak.lock();
    if (lender == nullptr) return;
    const std::lock_guard<std::mutex> lock(lender->mutex);
    lender->memory.push_back(memory);
  };
  return torch::from_blob(memory.data_ptr(), {memory.numel()}, give_back, torch::kFloat32);
}

}  // namespace scorenet::models::cpu
