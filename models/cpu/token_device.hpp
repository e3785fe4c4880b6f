// The transformer's passes over tokens on a CPU: float32 and bfloat16.
#pragma once

#include "models/kernels/token_device.hpp"

namespace scorenet::models::cpu {

const kernels::TokenDevice& cpu_tokens();

}  // namespace scorenet::models::cpu
