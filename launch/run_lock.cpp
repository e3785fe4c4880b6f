#include "launch/run_lock.hpp"

#include "framework/comm/fingerprint.hpp"
#include "framework/core/error.hpp"

namespace scorenet::launch {

std::unique_ptr<files::FolderLock> lock_run_folder(const std::filesystem::path& folder,
                                                   comm::Communicator& comm) {
  std::unique_ptr<files::FolderLock> lock;
  std::string refusal;
  if (comm.rank() == 0) {
    try {
      lock = std::make_unique<files::FolderLock>(folder);
    } catch (const Error& e) {
      refusal = e.what();
    }
  }
  refusal = comm::broadcast_text(comm, refusal, 0, "lock of the run folder");
  if (!refusal.empty()) throw CheckpointError(refusal);
  return lock;
}

}  // namespace scorenet::launch
