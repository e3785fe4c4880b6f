// One yes or no of all ranks together.
#pragma once

#include <string>
#include <string_view>

#include "framework/comm/communicator.hpp"

namespace scorenet::comm {

/// True on every rank if it is true on any. Collective; it takes the place of a barrier.
bool any_rank(Communicator& comm, bool mine, std::string_view tag);

/// On every rank the first line of the first rank that tells something, as "rank 3: ..."; nothing
/// if all tell nothing. At most 240 bytes. Collective.
std::string first_told(Communicator& comm, const std::string& mine, std::string_view tag);

}  // namespace scorenet::comm
