// A build without CUDA, or without its compiler.
#include "models/kernels/token_device.hpp"

namespace scorenet::models::kernels {

const TokenDevice* gpu_tokens() { return nullptr; }

}  // namespace scorenet::models::kernels
