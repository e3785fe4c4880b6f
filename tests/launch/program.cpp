#include "tests/launch/program.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/support/npy.hpp"

namespace scorenet::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string with_program(std::string command) {
  const std::string mark = "SCORENET";
  for (size_t at = 0; (at = command.find(mark, at)) != std::string::npos; at += 1) {
    command.replace(at, mark.size(), SCORENET_PROGRAM);
  }
  return command;
}

int open_or_throw(const fs::path& path, int flags) {
  const int file = open(path.c_str(), flags, 0600);
  if (file < 0) throw std::runtime_error(path.string() + " cannot be opened");
  return file;
}

}  // namespace

Background::Background(const std::string& command) {
  const std::string line = with_program(command);
  pid_ = fork();
  if (pid_ == 0) {
    setpgid(0, 0);
    dup2(open_or_throw("/dev/null", O_RDONLY), 0);
    dup2(open_or_throw(folder_.path() / "out", O_WRONLY | O_CREAT), 1);
    dup2(open_or_throw(folder_.path() / "err", O_WRONLY | O_CREAT), 2);
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    execl("/bin/bash", "bash", "-c", line.c_str(), nullptr);
    _exit(127);
  }
  setpgid(pid_, pid_);
}

Background::~Background() {
  if (pid_ > 0) {
    kill(-pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
}

Outcome Background::finish(double limit_s) {
  const auto start = Clock::now();
  Outcome outcome;
  int status = 0;
  bool late = false;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    if (!late && since(start) > limit_s) {
      late = true;
      kill(-pid_, SIGKILL);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  pid_ = -1;
  outcome.seconds = since(start);
  outcome.exit_code = late ? 124 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = text_of(folder_ / "out");
  outcome.err = text_of(folder_ / "err");
  return outcome;
}

Outcome run(const std::string& command, double limit_s) {
  return Background(command).finish(limit_s);
}

std::vector<pid_t> rank_processes(const std::string& text) {
  std::vector<pid_t> pids;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    std::string line = text_of(entry.path() / "cmdline"),
                environment = text_of(entry.path() / "environ");
    if (line.find(text) == std::string::npos || !line.starts_with(SCORENET_PROGRAM)) continue;
    const std::string key = "OMPI_COMM_WORLD_RANK=";
    const size_t at = environment.find(key);
    const size_t rank = at == std::string::npos
                            ? 0
                            : std::strtoul(environment.c_str() + at + key.size(), nullptr, 10);
    if (pids.size() <= rank) pids.resize(rank + 1, 0);
    pids[rank] = pid;
  }
  return pids;
}

bool wait_for_lines(const fs::path& path, size_t lines, double limit_s) {
  const auto start = Clock::now();
  while (lines_of(path).size() < lines) {
    if (since(start) > limit_s) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

std::string mpirun(int ranks, const std::string& program) {
  return "mpirun -n " + std::to_string(ranks) + " --oversubscribe " + program;
}

std::string text_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::ifstream in(path);
  std::vector<std::string> all;
  for (std::string line; std::getline(in, line);) all.push_back(line);
  return all;
}

namespace {

constexpr int kTinyImages = 60;

// Images of 8x8 with a bright square that moves, and noise from a fixed seed.
void write_images(const fs::path& path, int count) {
  std::string pixels;
  std::mt19937 random(7);
  for (int i = 0; i < count; ++i) {
    for (int pixel = 0; pixel < 64; ++pixel) {
      const bool bright = (pixel / 8 + i) % 8 < 3 && (pixel + i / 8) % 8 < 3;
      pixels += static_cast<char>((bright ? 180 : 20) + static_cast<int>(random() % 40));
    }
  }
  write_npy(path, std::to_string(count) + ", 1, 8, 8", pixels);
}

}  // namespace

void write_npy(const fs::path& path, const std::string& shape, const std::string& bytes) {
  write_bytes(path, npy("|u1", "(" + shape + ")", bytes));
}

namespace {

// What the program makes of the images, for all that ask in this process.
const std::string& tiny_data() {
  static const Folder folder;
  static const std::string path = [] {
    write_images(folder / "images.npy", kTinyImages);
    const Outcome made = run("SCORENET data convert --npy " + (folder / "images.npy") +
                             " --validation 8 --test 8 --out " + (folder / "tiny.h5"));
    if (made.exit_code != 0) throw std::runtime_error("data convert failed: " + made.err);
    return folder / "tiny.h5";
  }();
  return path;
}

}  // namespace

TinyRun make_tiny_run(const Folder& folder) {
  TinyRun tiny{folder / "tiny.toml", folder / "tiny.h5"};
  write_images(folder / "images.npy", kTinyImages);
  fs::copy_file(tiny_data(), tiny.data);
  std::ofstream(tiny.config)
      << "[data]\npath = \"" << tiny.data << "\"\n"
      << "[model]\nchannels = [8, 8]\nattention = [false, true]\nnorm_groups = 4\ndropout = 0.1\n"
      << "[diffusion]\nschedule = \"vdm_linear\"\nprediction = \"v\"\n"
      << "[train]\nbatch_size = 12\nprecision = \"fp32\"\nsteps = 20\nwarmup_steps = "
         "4\nlearning_rate = 1e-3\n"
      << "[ema]\ndecays = [0.9]\n[checkpoint]\nevery = 10\n"
      << "[eval]\nevery = 20\nn = 8\nmicro_batch = 4\nsamples = 4\nsampler_steps = 4\n[run]\ntick "
         "= 1\nthreads = 1\n";
  return tiny;
}

std::string write_overflowing_data(const Folder& folder) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (24, 1, 8, 8), }";
  header.resize(118, ' ');
  {
    std::ofstream out(folder / "huge.npy", std::ios::binary);
    out << "\x93NUMPY" << '\x01' << '\0' << static_cast<char>(119) << '\0' << header << '\n';
    for (int i = 0; i < 24 * 64; ++i) {
      const float value = i / 64 == 17 ? 1e25f : 0.01f * static_cast<float>(i % 64);
      out.write(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }
  const Outcome made = run("SCORENET data convert --npy " + (folder / "huge.npy") +
                           " --validation 0 --out " + (folder / "huge.h5"));
  if (made.exit_code != 0) throw std::runtime_error(made.err);
  return folder / "huge.h5";
}

}  // namespace scorenet::test
