// Checks that all ranks run the same program on the same config and data: once, before the first
// collective that moves data.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "framework/comm/communicator.hpp"

namespace scorenet::comm {

/// What must be equal on all ranks, in a readable order: build id, config lines, model shape, data
/// set. Large values enter as a digest. Keys are unique.
using Fingerprint = std::vector<std::pair<std::string, std::string>>;

/// Throws ConfigError on every rank, with the same sentence, at the first key (in rank zero's
/// order) that some rank does not share with rank zero: the key, both values, the lowest such rank,
/// and how many ranks differ in it. Collective.
void check_same_on_all_ranks(Communicator& communicator, const Fingerprint& mine);

/// The text of rank `root`, on all ranks. Collective.
std::string broadcast_text(Communicator& communicator, std::string text, int root,
                           std::string_view tag);

}  // namespace scorenet::comm
