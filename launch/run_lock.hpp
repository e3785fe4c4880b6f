// The lock of a run folder, taken by rank zero for all ranks.
#pragma once

#include <filesystem>
#include <memory>

#include "framework/comm/communicator.hpp"
#include "framework/files/folder_lock.hpp"

namespace scorenet::launch {

/// Rank zero holds the lock until it is destroyed; the other ranks get null. Collective. Throws
/// CheckpointError (exit code 6) on every rank, with the same sentence, if another job holds the
/// folder or if it cannot be written.
std::unique_ptr<files::FolderLock> lock_run_folder(const std::filesystem::path& folder,
                                                   comm::Communicator& comm);

}  // namespace scorenet::launch
