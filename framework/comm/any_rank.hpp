// One yes or no of all ranks together.
#pragma once

#include <string_view>

#include "framework/comm/communicator.hpp"

namespace scorenet::comm {

/// True on every rank if it is true on any. Collective; it takes the place of a barrier.
bool any_rank(Communicator& comm, bool mine, std::string_view tag);

}  // namespace scorenet::comm
