// scorenet doctor: what was built, what was found, and whether the ranks can talk.
//
//   scorenet doctor
//   mpirun -n 4 scorenet doctor          a table of all ranks, and one timed all-reduce
#include <hdf5.h>
#include <torch/cuda.h>
#include <torch/utils.h>
#include <torch/version.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <thread>

#include "framework/comm/fingerprint.hpp"
#include "framework/comm/nccl_communicator.hpp"
#include "framework/core/build_info.hpp"
#include "framework/core/host_name.hpp"
#include "launch/cores.hpp"
#include "launch/device.hpp"
#include "launch/verbs.hpp"
#include "models/native_precision.hpp"

namespace scorenet::launch {
namespace {

void print_build(const comm::Communicators& comms) {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  std::cout << "scorenet    " << build_line() << "\n"
            << "LibTorch    " TORCH_VERSION
            << (torch::cuda::is_available() ? ", CUDA available" : ", CPU only") << "\n"
            << "MPI         "
            << (comms.environment ? comms.environment->library() : "not started (one process)")
            << "\n"
            << "MPI threads "
            << (comms.environment && comms.environment->thread_multiple() ? "multiple" : "single")
            << "\n"
            << "NCCL        "
            << (comm::nccl_is_built_in() ? "built in" : "not built in (-DSCORENET_CUDA=ON)") << "\n"
            << "HDF5        " << major << '.' << minor << '.' << release << "\n"
            << "cores       " << std::thread::hardware_concurrency() << " on this host\n"
            << "devices     " << static_cast<int>(torch::cuda::device_count()) << " CUDA\n";
}

const char* native(bool is) { return is ? "native" : "imitated, many times slower"; }

// What train.precision may be set to without loss of speed.
void print_precisions(torch::Device device) {
  const models::CpuArithmetic cpu = models::this_cpu();
  std::cout << "CPU         " << models::cpu_name() << "\n"
            << "precision   on the CPU fp32 native, bf16 " << native(cpu.bf16) << ", fp16 "
            << native(cpu.fp16) << "; train.precision = auto takes "
            << models::auto_precision(device) << " on " << device.str() << "\n";
}

// One line a rank, told by each in turn.
void print_ranks(comm::Communicator& comm) {
  const int64_t cores = cores_of_this_rank(comm);
  for (int rank = 0; rank < comm.size(); ++rank) {
    char line[512];
    std::snprintf(line, sizeof line,
                  "rank %d of %d  host %s  local rank %d of %d  cores %lld  threads %d  pid %d",
                  comm.rank(), comm.size(), host_name().c_str(), comm.local_rank(),
                  comm.local_size(), static_cast<long long>(cores), torch::get_num_threads(),
                  static_cast<int>(getpid()));
    const std::string text = comm::broadcast_text(comm, line, rank, "rank table");
    if (comm.rank() == 0) std::cout << text << "\n";
  }
}

void time_all_reduce(comm::Communicator& comm) {
  constexpr int64_t kElements = 1 << 20;
  std::vector<float> values(kElements, static_cast<float>(comm.rank() + 1));
  const comm::Buffer buffer{values.data(), kElements, comm::DataType::float32};
  comm.all_reduce_now(buffer, comm::ReduceOp::max, "doctor's warm-up");
  std::fill(values.begin(), values.end(), static_cast<float>(comm.rank() + 1));
  const auto start = comm::Clock::now();
  comm.all_reduce_now(buffer, comm::ReduceOp::sum, "doctor's all-reduce");
  const double ms = 1e3 * comm::seconds_since(start);
  const float expected = static_cast<float>(comm.size() * (comm.size() + 1) / 2);
  const bool right = values.front() == expected && values.back() == expected;
  if (!right)
    throw CommError("doctor: the all-reduce of rank + 1 gave " + std::to_string(values.front()) +
                    ", expected " + std::to_string(expected) +
                    ". The MPI library or the network is at fault.");
  if (comm.rank() == 0)
    std::printf("all-reduce  4 MiB over %d ranks in %.2f ms, sum right\n", comm.size(), ms);
}

}  // namespace

void add_doctor_verb(CLI::App& app, Task& task) {
  CLI::App* verb = app.add_subcommand(
      "doctor", "report what was built and found, and test communication between the ranks");
  verb->callback([&task] {
    task.action = [](comm::Communicators& comms) {
      if (comms.host->rank() == 0) {
        print_build(comms);
        print_precisions(device_for_rank(*comms.host));
      }
      print_ranks(*comms.host);
      time_all_reduce(*comms.host);
      return ExitCode::done;
    };
  });
}

}  // namespace scorenet::launch
