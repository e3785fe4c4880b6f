// What one rank finds out, all know.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "framework/comm/communicator.hpp"

namespace scorenet::comm {

/// make() of rank zero, on all ranks; the others do not call it. Where it throws an Error, all
/// ranks throw one of the same sentence and exit code. Collective.
std::string on_rank_zero(Communicator& communicator, const std::function<std::string()>& make,
                         std::string_view tag);

}  // namespace scorenet::comm
