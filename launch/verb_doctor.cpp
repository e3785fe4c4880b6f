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
#include "models/autocast.hpp"
#include "models/cpu/executor.hpp"
#include "models/native_precision.hpp"

namespace scorenet::launch {
namespace {

void print_build(const comm::Communicators& comms) {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  std::cout << "scorenet    " << build_line() << "\n"
            << "LibTorch    " TORCH_VERSION
            << (torch::cuda::is_available() ? ", CUDA available"
                : comm::nccl_is_built_in()  ? ", built with CUDA, but no GPU is in reach"
                                            : ", CPU only")
            << "\n"
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

// Which kernels model.kernels = auto takes for U-Nets on the CPU.
std::string path_of(torch::Dtype dtype) {
  const std::string unit = models::cpu::executor_unit(dtype);
  return models::precision_name(dtype) + " by " +
         (unit.empty() ? "LibTorch's kernels" : "scorenet's on " + unit);
}

// A square product of LibTorch's, over and over for a third of a second.
double measured_gflops(torch::Dtype dtype) {
  constexpr int64_t kSize = 512;
  constexpr double kSeconds = 1.0 / 3;
  const torch::Tensor a = torch::full({kSize, kSize}, 0.5f).to(dtype), b = a.clone();
  torch::mm(a, b);
  const auto start = comm::Clock::now();
  double seconds = 0;
  int64_t products = 0;
  for (; seconds < kSeconds; seconds = comm::seconds_since(start), ++products) torch::mm(a, b);
  return 2e-9 * static_cast<double>(kSize * kSize * kSize * products) / seconds;
}

void print_products() {
  std::printf("products    of LibTorch, 512 x 512 x 512, %d threads:", torch::get_num_threads());
  const char* separator = " ";
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16, torch::kFloat16}) {
    std::printf("%s%s %.0f GFLOP/s", separator, models::precision_name(dtype).c_str(),
                measured_gflops(dtype));
    separator = ", ";
  }
  std::printf("\n");
}

// Where the environment says how many of these instructions are used.
void print_limit() {
  const models::InstructionLimit& limit = models::instruction_limit();
  const std::string within = models::within_instruction_limit();
  if (within.empty()) return;
  std::cout << "limit       instructions" << within << ": "
            << (limit.avx512 ? "vectors as the CPU has them"
                : limit.avx2 ? "vectors up to AVX2"
                             : "vectors that every CPU has")
            << ", " << (limit.bf16 ? "bf16 arithmetic" : "no bf16 arithmetic")
            << (limit.bf16 && !limit.amx ? " without AMX" : "") << "\n";
}

// What train.precision may be set to without loss of speed.
void print_precisions(torch::Device device) {
  const models::CpuArithmetic cpu = models::this_cpu();
  std::cout << "CPU         " << models::cpu_name() << "; " << models::vector_units_here() << "\n";
  print_limit();
  std::cout << "U-Nets      on the CPU in " << path_of(torch::kFloat32) << ", in "
            << path_of(torch::kBFloat16) << "\n"
            << "precision   on the CPU fp32 native, bf16 " << native(cpu.bf16) << ", fp16 "
            << native(cpu.fp16) << "; train.precision = auto takes "
            << models::auto_precision(device) << " on " << device.str() << std::endl;
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
        print_products();
      }
      print_ranks(*comms.host);
      time_all_reduce(*comms.host);
      return ExitCode::done;
    };
  });
}

}  // namespace scorenet::launch
