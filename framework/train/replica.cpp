#include "framework/train/replica.hpp"

#include <system_error>

#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"

namespace scorenet::train {
namespace {

namespace fs = std::filesystem;

std::string name_of(const fs::path& outdir) {
  std::error_code error;
  fs::path whole = fs::weakly_canonical(outdir, error);
  if (error) whole = fs::absolute(outdir);
  if (!whole.has_filename()) whole = whole.parent_path();  // "runs/a/"
  return whole.string();
}

// What is lost with the run is no second place.
void check_lies_apart(const fs::path& replica, const fs::path& outdir) {
  if (!(name_of(replica) + "/").starts_with(name_of(outdir) + "/")) return;
  throw ConfigError("checkpoint.replica = " + replica.string() + ": lies in the run's folder " +
                    outdir.string() + " and would be lost with it. Give a folder elsewhere.");
}

}  // namespace

bool replica_is_of(const fs::path& replica, const fs::path& outdir) {
  check_lies_apart(replica, outdir);
  std::error_code missing;
  if (!fs::exists(replica / "run", missing)) return false;
  std::string owner = files::read_file(replica / "run");
  while (!owner.empty() && owner.back() == '\n') owner.pop_back();
  if (owner == name_of(outdir)) return true;
  throw ConfigError("checkpoint.replica = " + replica.string() +
                    ": holds the checkpoints of the run in " + owner +
                    ". Give each run a folder of its own; to go on with that run in another "
                    "--outdir, copy the folder to its checkpoints/ and leave the file `run` out.");
}

void claim_replica(const fs::path& replica, const fs::path& outdir) {
  if (replica_is_of(replica, outdir)) return;
  std::error_code error;
  fs::create_directories(replica, error);
  if (error) {
    throw CheckpointError("checkpoint.replica = " + replica.string() + ": cannot be made (" +
                          error.message() + "). Give a folder that can be written.");
  }
  files::write_file_atomically(replica / "run", name_of(outdir) + "\n");
}

}  // namespace scorenet::train
