// The end of MPI, with a limit. MPI_Finalize waits for every rank and for the launcher, MPI_Abort
// for the launcher: where one of them is frozen, they never return.
#pragma once

namespace scorenet::comm {

/// Calls MPI_Finalize. If it has not returned after `limit_s` seconds (0: no limit), prints one
/// sentence to stderr and ends the process with exit code 5: the launcher then ends the others.
void finalize_mpi(int rank, double limit_s);

/// Ends all ranks with this exit code; this one also where the launcher does not answer in 10 s.
[[noreturn]] void abort_mpi(int exit_code) noexcept;

}  // namespace scorenet::comm
