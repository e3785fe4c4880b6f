// The number of cores that a rank may use: launchers bind ranks to cores, and batch systems give
// out parts of a machine.
#pragma once

#include <cstdint>
#include <vector>

#include "framework/comm/communicator.hpp"

namespace scorenet::launch {

/// Bit c % 64 of word c / 64: core c may be used. Words of several masks may differ in number.
using CoreMask = std::vector<uint64_t>;

/// The cores that the system lets this process use.
CoreMask allowed_cores();

/// The number of cores that this process could use if its launcher had not bound it: all cores of
/// the machine or container.
int64_t cores_without_binding();

/// Cores for rank `me` of the ranks of one machine; each core is divided among the ranks that may
/// use it. At least 1.
int64_t share_of_cores(const std::vector<CoreMask>& ranks_of_host, size_t me);

/// Collective.
int64_t cores_of_this_rank(comm::Communicator& comm);

}  // namespace scorenet::launch
