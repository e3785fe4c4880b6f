#include "framework/comm/make_communicator.hpp"

#include <cstdlib>
#include <string>

#include "framework/comm/nccl_communicator.hpp"
#include "framework/comm/single_communicator.hpp"
#include "framework/core/error.hpp"

namespace scorenet::comm {

bool started_by_a_launcher() {
  for (const char* variable :
       {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"}) {
    if (std::getenv(variable) != nullptr) return true;
  }
  return false;
}

namespace {

int number_in(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::atoi(text);
}

void check_backend(const std::string& backend) {
  if (backend == "single") return;
  std::string known;
  for (const std::string& name : backend_names()) {
    if (backend == name) return;
    known += name + ", ";
  }
  throw ConfigError("comm.backend = " + backend + ": unknown; expected one of " + known +
                    "single.");
}

// mpiexec of MPICH, Intel MPI or MVAPICH, srun --mpi=pmi2, or mpirun of an Open MPI that this one
// does not know.
void check_processes_of_launcher() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"}) {
    const int processes = number_in(variable);
    if (processes == 1) return;  // the innermost launcher: a choice
    if (processes <= 1) continue;
    throw CommError(
        std::string("the launcher started ") + std::to_string(processes) + " processes (" +
        variable +
        "), but this one sees itself as the only rank: each would work alone, in the same folder. "
        "The launcher and the program use different MPI libraries (scorenet doctor names the "
        "program's). Start with the mpirun of the program's library, or with srun --mpi=pmix.");
  }
}

}  // namespace

void check_slurm_tasks(int mpi_size) {
  // mpirun -n 1 inside an allocation is a choice, not an accident.
  if (mpi_size != 1 || std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr) return;
  const char* tasks = std::getenv("SLURM_STEP_NUM_TASKS");
  if (tasks == nullptr) tasks = std::getenv("SLURM_NTASKS");
  if (tasks == nullptr || std::atoi(tasks) <= 1) return;
  throw CommError(std::string("Slurm has ") + tasks +
                  " tasks, but this process sees itself as the only rank: each would train alone. "
                  "Start with srun --mpi=pmix (srun --mpi=list shows what exists) or mpirun; for "
                  "one process use srun --ntasks=1.");
}

Communicators make_communicators(const CommOptions& options,
                                 const std::function<void*()>& compute_stream) {
  const std::string& backend = options.backend;
  check_backend(backend);
  Communicators result;
  result.vitals = std::make_shared<Vitals>();
  const bool use_mpi =
      backend == "mpi" || backend == "nccl" || (backend == "auto" && started_by_a_launcher());
  if (!use_mpi) {
    if (backend == "auto") check_slurm_tasks(1);
    result.host = make_single_communicator();
    return result;
  }
  result.environment = std::make_unique<MpiEnvironment>();
  if (result.environment->size() == 1) check_processes_of_launcher();
  check_slurm_tasks(result.environment->size());
  if (options.recorded_operations > 0) {
    result.recorder = std::make_shared<FlightRecorder>(size_t(options.recorded_operations));
  }
  MpiOptions mpi;
  mpi.limits = options.limits;
  mpi.check_collectives = options.check_collectives;
  mpi.vitals = result.vitals;
  mpi.recorder = result.recorder;
  result.host = make_mpi_communicator(*result.environment, mpi);
  if (backend == "nccl") {
    result.device = make_nccl_communicator(
        *result.host,
        {.limits = options.limits, .compute_stream = compute_stream, .recorder = result.recorder});
  }
  if (options.heartbeat_limit_s > 0) {
    HeartbeatOptions beat;
    beat.limit_s = options.heartbeat_limit_s;
    result.heartbeat = start_heartbeat(*result.environment, result.vitals, result.recorder, beat);
    // Without a heartbeat nobody knows whether the others still work.
    if (result.heartbeat) result.environment->limit_end(beat.limit_s);
  }
  return result;
}

}  // namespace scorenet::comm
