// The table of back ends, and what the launcher's environment says. Starts no MPI.
#include "framework/comm/make_communicator.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "framework/comm/gpu_aware_mpi.hpp"
#include "framework/comm/nccl_communicator.hpp"
#include "framework/comm/single_communicator.hpp"
#include "framework/core/error.hpp"

namespace scorenet::comm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// A process with no launcher around it.
class MakeCommunicator : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* v : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE",
                          "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"}) {
      unsetenv(v);
    }
  }
};

template <typename E, typename Call>
std::string message(Call call) {
  try {
    call();
  } catch (const E& e) {
    return e.what();
  }
  return "";
}

TEST_F(MakeCommunicator, WithoutALauncherThereIsOneProcessAndNoMpi) {
  const Communicators c = make_communicators({});
  EXPECT_EQ(c.host->size(), 1);
  EXPECT_EQ(c.environment, nullptr);
  EXPECT_EQ(&c.bulk(), c.host.get());
}

TEST_F(MakeCommunicator, LaunchersAreSeenInTheEnvironment) {
  EXPECT_FALSE(started_by_a_launcher());
  for (const char* v : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    setenv(v, "1", 1);
    EXPECT_TRUE(started_by_a_launcher()) << v;
    unsetenv(v);
  }
}

TEST_F(MakeCommunicator, AnUnknownBackEndIsNamedWithTheKnownOnes) {
  EXPECT_THAT(message<ConfigError>([] { make_communicators({.backend = "gloo"}); }),
              AllOf(HasSubstr("gloo"), HasSubstr("auto, mpi, nccl, single")));
}

TEST_F(MakeCommunicator, SlurmTasksThatDoNotSeeEachOtherAreAnError) {
  setenv("SLURM_NTASKS", "4", 1);
  EXPECT_THAT(message<CommError>([] { make_communicators({}); }),
              AllOf(HasSubstr("4 tasks"), HasSubstr("srun --mpi=pmix")));
  EXPECT_NO_THROW(check_slurm_tasks(4));                       // MPI sees them all
  EXPECT_NO_THROW(make_communicators({.backend = "single"}));  // asked for by name
  setenv("SLURM_STEP_NUM_TASKS", "1", 1);  // srun --ntasks=1 inside the allocation
  EXPECT_NO_THROW(check_slurm_tasks(1));
  setenv("SLURM_STEP_NUM_TASKS", "4", 1);
  EXPECT_THROW(check_slurm_tasks(1), CommError);
  setenv("OMPI_COMM_WORLD_SIZE", "1", 1);  // mpirun -n 1
  EXPECT_NO_THROW(check_slurm_tasks(1));
}

TEST_F(MakeCommunicator, ABuildWithoutNcclSaysHowToGetIt) {
  if (nccl_is_built_in()) GTEST_SKIP() << "built with NCCL";
  const auto single = make_single_communicator();
  EXPECT_THAT(message<ConfigError>([&] { make_nccl_communicator(*single); }),
              AllOf(HasSubstr("without NCCL"), HasSubstr("--cuda")));
}

TEST(GpuAwareMpi, DeviceMemoryGoesToMpiOnlyWhenAsked) {
  EXPECT_THAT(
      message<ConfigError>([] { check_device_memory_has_a_carrier(true, false, 2, false); }),
      AllOf(HasSubstr("comm.backend = nccl"), HasSubstr("comm.gpu_aware_mpi = true")));
  // On a CPU, over NCCL, alone, or asked for: nothing to say.
  EXPECT_NO_THROW(check_device_memory_has_a_carrier(false, false, 2, false));
  EXPECT_NO_THROW(check_device_memory_has_a_carrier(true, true, 2, false));
  EXPECT_NO_THROW(check_device_memory_has_a_carrier(true, false, 1, false));
  EXPECT_NO_THROW(check_device_memory_has_a_carrier(true, false, 2, true));
}

TEST(GpuAwareMpi, TheDeviceSettlesBeforeEveryOperation) {
  int settled = 0;
  const auto c = make_settling_communicator(make_single_communicator(), [&] { ++settled; });
  float value = 3, copy = 0;
  const Buffer in{&value, 1, DataType::float32}, out{&copy, 1, DataType::float32};
  c->all_reduce(in, ReduceOp::sum, "a").wait();
  c->broadcast(in, 0, "b").wait();
  c->reduce_scatter(in, out, ReduceOp::sum, "c").wait();
  c->all_gather(in, out, "d").wait();
  c->all_to_all(in, out, "e").wait();
  c->barrier("f").wait();
  EXPECT_EQ(settled, 6);
  EXPECT_EQ(copy, 3);
}

TEST(SelectNcclDevice, OneVisibleDeviceIsItElseTheLocalRank) {
  EXPECT_EQ(select_nccl_device(3, 4, 1), 0);  // the launcher hides all but one
  EXPECT_EQ(select_nccl_device(3, 4, 4), 3);
  EXPECT_EQ(select_nccl_device(1, 2, 8), 1);
  EXPECT_THAT(message<ConfigError>([] { select_nccl_device(0, 4, 2); }),
              AllOf(HasSubstr("4 ranks"), HasSubstr("2 visible")));
  EXPECT_THAT(message<ConfigError>([] { select_nccl_device(0, 1, 0); }),
              HasSubstr("no CUDA device"));
}

}  // namespace
}  // namespace scorenet::comm
