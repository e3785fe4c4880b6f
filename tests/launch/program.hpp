// Runs the built program as a user would, and says what came back.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace scorenet::testing_launch {

struct Outcome {
  int exit_code = -1;  // 128 + signal if a signal ended it; 124 if the time limit did
  std::string out;
  std::string err;
  double seconds = 0;
};

/// A command line of the shell, with SCORENET standing for the program's path. Standard input is empty.
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
  std::filesystem::path folder_;
};

/// Processes whose command line holds `text`, by rank variable of Open MPI: pids[rank].
std::vector<pid_t> rank_processes(const std::string& text);

/// Waits until the file has at least `lines` lines. False after limit_s.
bool wait_for_lines(const std::filesystem::path& path, size_t lines, double limit_s);

/// "mpirun -n N --oversubscribe PROGRAM"
std::string mpirun(int ranks, const std::string& program = "SCORENET");

std::string text_of(const std::filesystem::path& path);
std::vector<std::string> lines_of(const std::filesystem::path& path);

/// A folder of this test's own, gone with the object.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// numpy's .npy, version 1.0, of bytes. shape: as Python writes it, "60, 1, 8, 8" or "60,".
void write_npy(const std::filesystem::path& path, const std::string& shape,
               const std::string& bytes);

/// A config for a small U-Net on a data file of 8x8 images, both made in `folder`; trains a step in milliseconds.
struct TinyRun {
  std::string config;
  std::string data;
};
TinyRun make_tiny_run(const Folder& folder);

}  // namespace scorenet::testing_launch
