#include "launch/run_main.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "framework/core/host_name.hpp"
#include "launch/cores.hpp"

namespace scorenet::launch {
namespace {

struct Failure {
  ExitCode code;
  std::string sentence;
};

// LibTorch's messages carry a C++ stack trace after the first line.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// The standard library says bad_alloc, or length_error for a size beyond all memory; LibTorch says it in words.
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

void report(const Failure& failure, const comm::Communicator& comm) {
  if (comm.rank() == 0) {
    std::cerr << failure.sentence << std::endl;
    return;
  }
  // What every rank saw, rank zero tells, and it ends the job within this time.
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  std::cerr << "[rank " << comm.rank() << ' ' << host_name() << "] " << failure.sentence
            << std::endl;
}

}  // namespace

int run_on_ranks(const Task& task) {
  try {
    comm::Communicators comms = comm::make_communicators(task.comm);
    try {
      return static_cast<int>(task.action(comms));
    } catch (...) {
      const Failure failure = failure_of(std::current_exception());
      report(failure, *comms.host);
      if (comms.host->size() > 1) comms.host->abort(static_cast<int>(failure.code));
      return static_cast<int>(failure.code);
    }
  } catch (const Error& e) {  // the ranks themselves could not be connected
    if (!launched_as_other_rank()) std::cerr << e.what() << std::endl;
    return static_cast<int>(e.exit_code());
  }
}

bool launched_as_other_rank() {
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(variable)) return std::string(rank) != "0";
  }
  return false;
}

void use_threads(int64_t asked, comm::Communicator& comm) {
  const int64_t cores = cores_of_this_rank(
      comm);  // by all, or a rank that was asked otherwise would hold up the rest
  torch::set_num_threads(static_cast<int>(asked > 0 ? asked : cores));
  // Under a batch system the rest of the host may be other people's.
  const bool by_mpirun_alone = std::getenv("OMPI_COMM_WORLD_RANK") && !std::getenv("SLURM_JOB_ID");
  if (asked > 0 || comm.rank() != 0 || !by_mpirun_alone) return;
  const int64_t unbound = cores_without_binding();
  const int64_t fair = unbound / comm.local_size();
  if (cores >= fair) return;
  std::cerr << "note: mpirun has bound this rank to " << cores << " of " << unbound
            << " cores; with --bind-to none it would compute on " << fair << "." << std::endl;
}

}  // namespace scorenet::launch
