// How many of a host's cores are a rank's own: launchers bind ranks to cores, and batch systems
// lend parts of a host.
#pragma once

#include <cstdint>
#include <vector>

#include "framework/comm/communicator.hpp"

namespace scorenet::launch {

/// Bit c % 64 of word c / 64: core c may be used. Words of several masks may differ in number.
using CoreMask = std::vector<uint64_t>;

/// What the system lets this process use.
CoreMask allowed_cores();

/// How many cores this process could use if its launcher had not bound it: all that the machine
/// or container lends.
int64_t cores_without_binding();

/// Cores for rank `me` of the ranks of one host, each core divided among the ranks that may use it;
/// at least 1.
int64_t share_of_cores(const std::vector<CoreMask>& ranks_of_host, size_t me);

/// Collective.
int64_t cores_of_this_rank(comm::Communicator& comm);

}  // namespace scorenet::launch
