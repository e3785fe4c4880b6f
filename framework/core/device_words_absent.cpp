// A build without CUDA draws on the CPU.
#include "framework/core/check.hpp"
#include "framework/core/device_words.hpp"

namespace scorenet {

bool draws_words_on(torch::Device) { return false; }

torch::Tensor philox_words(const torch::Tensor& key, const torch::Tensor&, int64_t) {
  throw Error(ExitCode::usage,
              "random words on " + key.device().str() + ": this build has no generator there.");
}

}  // namespace scorenet
