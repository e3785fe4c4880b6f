// The device a rank computes on.
#pragma once

#include <torch/types.h>

#include "framework/comm/communicator.hpp"

namespace scorenet::launch {

/// The CUDA device of this rank's place on its host, or the CPU where this build or machine has none.
/// Throws CommError if more ranks run on the host than it has devices.
torch::Device device_for_rank(const comm::Communicator& comm);

}  // namespace scorenet::launch
