// The communicator of a single process: every operation is done at once. Needs no MPI launcher.
#pragma once

#include <memory>

#include "framework/comm/communicator.hpp"

namespace scorenet::comm {

std::unique_ptr<Communicator> make_single_communicator();

}  // namespace scorenet::comm
