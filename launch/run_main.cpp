#include "launch/run_main.hpp"

#include <torch/cuda.h>
#include <torch/utils.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "framework/comm/last_words.hpp"
#include "framework/core/device_graph.hpp"
#include "framework/core/host_name.hpp"
#include "framework/core/stop_signal.hpp"
#include "launch/cores.hpp"

namespace scorenet::launch {
namespace {

struct Failure {
  ExitCode code;
  std::string sentence;
};

// LibTorch's messages carry a C++ stack trace after the first line.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// The standard library says bad_alloc, or length_error for a size beyond all memory; LibTorch says
// it in words.
bool is_lack_of_memory(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error)) return true;
  if (dynamic_cast<const std::length_error*>(&error)) return true;
  const std::string text = first_line(error.what());
  return text.find("can't allocate memory") != std::string::npos ||
         text.find("out of memory") != std::string::npos;
}

Failure failure_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return {e.exit_code(), e.what()};
  } catch (const std::exception& e) {
    if (is_lack_of_memory(e))
      return {ExitCode::usage,
              "out of memory: use a smaller train.micro_batch, eval.micro_batch or network."};
    return {ExitCode::usage,
            "internal error: " + first_line(e.what()) + ". Please report it with the command."};
  }
}

constexpr double kMeetingSeconds = 3;

// Ends this rank's part of a job that failed. Returns the exit code if all ranks have come here;
// else the job is aborted.
int end_with(const Failure& failure, comm::Communicator& comm, comm::LastWords& last_words) {
  if (comm.rank() == 0) std::cerr << failure.sentence << std::endl;
  const auto mine = static_cast<int64_t>(std::hash<std::string>()(failure.sentence));
  // After a failed collective there is nothing left that could end in order.
  const bool orderly = failure.code != ExitCode::communication || comm.size() == 1;
  const auto words = orderly ? last_words.exchange(mine, kMeetingSeconds) : std::vector<int64_t>();
  // What rank zero saw too, it has told.
  if (comm.rank() != 0 && (words.empty() || words[0] != mine)) {
    std::cerr << "[rank " << comm.rank() << ' ' << host_name() << "] " << failure.sentence
              << std::endl;
  }
  if (words.empty()) comm.abort(static_cast<int>(failure.code));
  return static_cast<int>(failure.code);
}

// `code`, or that of unwritable output where standard output has lost something.
int after_last_output(int code, const Task& task) {
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout.good()) return code;
  if (code != 0 || task.keeps_its_lines) return code;
  std::cerr
      << "standard output: not all of it could be written (a closed pipe, a full disk or a limit "
         "on the file's size). Keep its reader open, or write to another disk."
      << std::endl;
  return static_cast<int>(ExitCode::checkpoint);
}

void note_of_binding(int64_t cores, comm::Communicator& comm) {
  // Under a batch system the rest of the host may be other people's; a GPU's host has
  // little to compute.
  const bool by_mpirun_alone = std::getenv("OMPI_COMM_WORLD_RANK") && !std::getenv("SLURM_JOB_ID");
  if (comm.rank() != 0 || !by_mpirun_alone || torch::cuda::is_available()) return;
  const int64_t unbound = cores_without_binding();
  const int64_t fair = unbound / comm.local_size();
  if (cores >= fair) return;
  std::cerr << "note: mpirun has bound this rank to " << cores << " of " << unbound
            << " cores; with --bind-to none it would compute on " << fair << "." << std::endl;
}

int run_alone(const Task& task) {
  if (launched_as_other_rank()) return static_cast<int>(ExitCode::done);
  comm::CommOptions options = task.comm;
  options.backend = "single";
  comm::Communicators comms = comm::make_communicators(options);
  const int64_t threads = threads_asked_for(task.threads);
  if (threads > 0) torch::set_num_threads(static_cast<int>(threads));
  try {
    return after_last_output(static_cast<int>(task.action(comms)), task);
  } catch (...) {
    return end_with(failure_of(std::current_exception()), *comms.host,
                    *comm::make_last_words(nullptr));
  }
}

}  // namespace

int run_on_ranks(const Task& task) {
  if (!task.heeds_stop) let_signals_end_the_process();
  if (task.alone) return run_alone(task);
  try {
    comm::Communicators comms = comm::make_communicators(task.comm, current_cuda_stream);
    const auto last_words = comm::make_last_words(comms.environment.get());
    try {
      comm::check_same_on_all_ranks(*comms.host, task.identity);
      use_threads(task.threads, *comms.host);
      return after_last_output(static_cast<int>(task.action(comms)), task);
    } catch (...) {
      return end_with(failure_of(std::current_exception()), *comms.host, *last_words);
    }
  } catch (const Error& e) {  // the ranks themselves could not be connected
    if (!launched_as_other_rank()) std::cerr << e.what() << std::endl;
    return end_before_connecting(e.exit_code());
  }
}

int end_before_connecting(ExitCode code) {
  if (code != ExitCode::done && launched_as_other_rank())
    std::this_thread::sleep_for(std::chrono::seconds(1));
  return after_last_output(static_cast<int>(code), {});
}

bool launched_as_other_rank() {
  for (const char* variable :
       {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(variable)) return std::string(rank) != "0";
  }
  return false;
}

void use_threads(int64_t asked, comm::Communicator& comm) {
  const int64_t cores = cores_of_this_rank(
      comm);  // by all, or a rank that was asked otherwise would hold up the rest
  const int64_t threads = threads_asked_for(asked);
  // A GPU leaves the host operations so small that a team of threads slows them down: 7,800
  // images/s with 16, 11,300 with one (configs/fashion_mnist/network.toml, batch 512, H100). An
  // evaluation's batches, one on each thread, would only queue up before it.
  const int64_t unasked = torch::cuda::is_available() ? 1 : cores;
  torch::set_num_threads(static_cast<int>(threads > 0 ? threads : unasked));
  if (threads == 0) note_of_binding(cores, comm);
}

int64_t threads_asked_for(int64_t asked) {
  if (asked > 0) return asked;
  const char* const variable = std::getenv("OMP_NUM_THREADS");  // "4", or "4,2" for nested regions
  return variable == nullptr ? 0 : std::clamp(std::atoll(variable), 0LL, 4096LL);
}

}  // namespace scorenet::launch
