// An HDF5 file. The library trusts its own metadata: it may crash or never come back, and the
// reader then ends the process with the code of data. So each input is read in a child of its own.
#include "framework/data/hdf5.hpp"

#include <ATen/Parallel.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "framework/data/describe.hpp"
#include "framework/data/image_dataset.hpp"
#include "tests/fuzz/target_support.hpp"
#include "tests/fuzz/targets.hpp"

namespace scorenet::fuzz {
namespace {

enum Outcome { kTaken = 0, kRefused = 1, kLibraryCrashed = 3, kWrong = 4 };

bool read(const std::string& path) {
  takes<DataError>([&] { data::describe_file(path); });
  return takes<DataError>([&] {
    data::ImageDataset dataset(path, "train");
    dataset.read({0, dataset.size() - 1});
  });
}

}  // namespace

bool hdf5(std::string_view bytes) {
  const std::string path = workplace() / "x.h5";
  test::write_bytes(path, bytes);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    at::set_num_threads(1);
    try {
      ::_exit(read(path) ? kTaken : kRefused);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "fuzz: %s\n", error.what());
      ::_exit(kWrong);
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  demand(code == kTaken || code == kRefused || code == kLibraryCrashed,
         "the reader of HDF5 ended with code " + std::to_string(code));
  return code == kTaken;
}

}  // namespace scorenet::fuzz
