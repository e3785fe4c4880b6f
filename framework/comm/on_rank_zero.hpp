// Computes a text on rank zero and gives it to all ranks.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "framework/comm/communicator.hpp"

namespace scorenet::comm {

/// Returns rank zero's make() on all ranks; only rank zero calls it. If it throws an Error, all
/// ranks throw one with the same sentence and exit code. Collective.
std::string on_rank_zero(Communicator& communicator, const std::function<std::string()>& make,
                         std::string_view tag);

}  // namespace scorenet::comm
