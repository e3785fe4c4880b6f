// CUDA: one elementwise kernel, compiled at its first use by LibTorch (NVRTC). No CUDA compiler is
// needed to build.
#include <ATen/cuda/jiterator.h>

#include "framework/core/device_words.hpp"

namespace scorenet {
namespace {

// A thread a word: the four words of a block are computed four times, which costs less than
// scattering them would.
constexpr const char* kPhiloxWord = R"(
template <typename T>
T philox_word(T slot, T word, T seed) {
  unsigned int c0 = (unsigned int)(word >> 2), c1 = (unsigned int)((unsigned long long)word >> 34);
  unsigned int c2 = (unsigned int)slot, c3 = (unsigned int)((unsigned long long)slot >> 32);
  unsigned int k0 = (unsigned int)seed, k1 = (unsigned int)((unsigned long long)seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const unsigned int high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
    const unsigned int high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const int lane = (int)(word & 3);
  return (T)(lane == 0 ? c0 : lane == 1 ? c1 : lane == 2 ? c2 : c3);
}
)";

}  // namespace

bool draws_words_on(torch::Device device) { return device.is_cuda(); }

torch::Tensor philox_words(const torch::Tensor& key, const torch::Tensor& slots, int64_t count) {
  const auto columns = torch::arange(count, slots.options()).unsqueeze(0);
  return at::cuda::CompileAndLaunchKernel(kPhiloxWord, "philox_word", 1,
                                          {slots.unsqueeze(1), columns, key.view({1, 1})}, {},
                                          /*return_by_ref=*/false)[0];
}

}  // namespace scorenet
