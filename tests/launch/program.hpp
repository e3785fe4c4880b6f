// Runs the built program as a user would, and says what came back.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/temporary_folder.hpp"

namespace scorenet::test {

struct Outcome {
  int exit_code = -1;  // 128 + signal if a signal ended it; 124 if the time limit did
  std::string out;
  std::string err;
  double seconds = 0;
};

/// A command line of the shell, with SCORENET standing for the program's path. Standard
/// input is empty.
Outcome run(const std::string& command, double limit_s = 120);

/// The same in the background.
class Background {
 public:
  explicit Background(const std::string& command);
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  /// Waits for the end; 124 and the end of the whole process group if limit_s passes.
  Outcome finish(double limit_s);
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  TemporaryFolder folder_;
};

/// Processes whose command line holds `text`, by rank variable of Open MPI: pids[rank].
std::vector<pid_t> rank_processes(const std::string& text);

/// Waits until the file has at least `lines` lines. False after limit_s.
bool wait_for_lines(const std::filesystem::path& path, size_t lines, double limit_s);

/// "mpirun -n N --oversubscribe PROGRAM"
std::string mpirun(int ranks, const std::string& program = "SCORENET");

std::string text_of(const std::filesystem::path& path);
std::vector<std::string> lines_of(const std::filesystem::path& path);

using Folder = TemporaryFolder;

/// numpy's .npy of bytes. shape: as Python writes it, "60, 1, 8, 8" or "60,".
void write_npy(const std::filesystem::path& path, const std::string& shape,
               const std::string& bytes);

/// A config for a small U-Net on a data file of 8x8 images, both in `folder`; trains a step in
/// milliseconds. images.npy holds the same images. The data file is made once, then copied.
struct TinyRun {
  std::string config;
  std::string data;
};
TinyRun make_tiny_run(const Folder& folder);

/// 24 float32 images of 8x8 of which number 17 is so large that its squared error overflows
/// float32: the path of their HDF5 file.
std::string write_overflowing_data(const Folder& folder);

}  // namespace scorenet::test
