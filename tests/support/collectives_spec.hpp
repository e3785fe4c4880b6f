// What every Communicator must do, as one list of checks: run by the MPI, the simulated and the
// single back ends.
#pragma once

#include "framework/comm/communicator.hpp"

namespace scorenet::test {

/// Runs all checks with gtest expectations. Collective.
void check_collectives(comm::Communicator& communicator);

}  // namespace scorenet::test
