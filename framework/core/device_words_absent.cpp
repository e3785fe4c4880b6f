// A build without CUDA draws on the CPU.
#include "framework/core/check.hpp"
#include "framework/core/device_words.hpp"

namespace scorenet {

bool draws_words_on(torch::Device) { return false; }

torch::Tensor philox_words(uint64_t, const std::vector<int64_t>&, int64_t, torch::Device device) {
  throw Error(ExitCode::usage,
              "random words on " + device.str() + ": this build has no generator there.");
}

}  // namespace scorenet
