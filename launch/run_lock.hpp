// The lock of a run folder, taken by rank zero for all ranks.
#pragma once

#include <filesystem>
#include <memory>

#include "framework/comm/communicator.hpp"
#include "framework/files/folder_lock.hpp"

namespace scorenet::launch {

/// Held by rank zero until destroyed; null on the others. Collective. Throws CheckpointError
/// (exit code 6) on every rank, with the same sentence, where another job holds the folder or it
/// cannot be written.
std::unique_ptr<files::FolderLock> lock_run_folder(const std::filesystem::path& folder,
                                                   comm::Communicator& comm);

}  // namespace scorenet::launch
