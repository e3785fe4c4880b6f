// The program's errors: one type per exit code, each carrying one sentence.
//
// what() says where, which value, what was expected, and what to do. main() prints it and returns
// exit_code(). Plain C++: every layer may include this, also the layers without LibTorch.
#pragma once

#include <stdexcept>
#include <string>

namespace scorenet {

/// Exit codes, as launch/README.md lists them; job scripts rely on them.
enum class ExitCode : int {
  done = 0,
  usage = 2,          // command line or configuration
  data = 3,           // data set missing, damaged or of another shape
  not_finite = 4,     // training diverged
  communication = 5,  // a collective failed or a rank was lost
  checkpoint = 6,     // unreadable, damaged or unwritable checkpoint or snapshot
  requeue = 75,       // stopped by a signal, saved, ready to be started again
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& sentence) : std::runtime_error(sentence), code_(code) {}
  ExitCode exit_code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

struct ConfigError : Error {
  explicit ConfigError(const std::string& sentence) : Error(ExitCode::usage, sentence) {}
};
/// Two tensors that do not fit: a wrong call, or a network that does not match the data.
struct ShapeError : Error {
  explicit ShapeError(const std::string& sentence) : Error(ExitCode::usage, sentence) {}
};
struct DataError : Error {
  explicit DataError(const std::string& sentence) : Error(ExitCode::data, sentence) {}
};
struct NotFiniteError : Error {
  explicit NotFiniteError(const std::string& sentence) : Error(ExitCode::not_finite, sentence) {}
};
struct CommError : Error {
  explicit CommError(const std::string& sentence) : Error(ExitCode::communication, sentence) {}
};
struct CheckpointError : Error {
  explicit CheckpointError(const std::string& sentence) : Error(ExitCode::checkpoint, sentence) {}
};

}  // namespace scorenet
