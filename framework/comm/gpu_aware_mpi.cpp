#include "framework/comm/gpu_aware_mpi.hpp"

#include <cstdlib>
#include <utility>

#include "framework/core/error.hpp"

namespace scorenet::comm {
namespace {

class SettlingCommunicator final : public Communicator {
 public:
  SettlingCommunicator(std::unique_ptr<Communicator> inner, std::function<void()> settle)
      : inner_(std::move(inner)), settle_(std::move(settle)) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  int local_rank() const override { return inner_->local_rank(); }
  int local_size() const override { return inner_->local_size(); }
  void set_phase(Phase phase) override { inner_->set_phase(phase); }

  Work all_reduce(Buffer in_place, ReduceOp op, std::string_view tag) override {
    settle_();
    return inner_->all_reduce(in_place, op, tag);
  }
  void all_reduce_now(Buffer in_place, ReduceOp op, std::string_view tag) override {
    settle_();
    inner_->all_reduce_now(in_place, op, tag);
  }
  Work broadcast(Buffer in_place, int root, std::string_view tag) override {
    settle_();
    return inner_->broadcast(in_place, root, tag);
  }
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op, std::string_view tag) override {
    settle_();
    return inner_->reduce_scatter(in, out, op, tag);
  }
  Work all_gather(Buffer in, Buffer out, std::string_view tag) override {
    settle_();
    return inner_->all_gather(in, out, tag);
  }
  Work all_to_all(Buffer in, Buffer out, std::string_view tag) override {
    settle_();
    return inner_->all_to_all(in, out, tag);
  }
  Work barrier(std::string_view tag) override {
    settle_();
    return inner_->barrier(tag);
  }
  [[noreturn]] void abort(int exit_code) noexcept override {
    inner_->abort(exit_code);
    std::_Exit(exit_code);  // noreturn, which the compiler forgets for virtual calls
  }

 private:
  std::unique_ptr<Communicator> inner_;
  std::function<void()> settle_;
};

}  // namespace

void check_device_memory_has_a_carrier(bool on_gpu, bool over_nccl, int ranks, bool gpu_aware_mpi) {
  if (!on_gpu || over_nccl || ranks == 1 || gpu_aware_mpi) return;
  throw ConfigError(
      "comm.backend = mpi with the network on GPUs: MPI libraries take device memory only if built "
      "for it. Set comm.backend = nccl, or comm.gpu_aware_mpi = true if yours is (ompi_info "
      "--parsable --all | grep mpi_built_with_cuda_support:value).");
}

std::unique_ptr<Communicator> make_settling_communicator(std::unique_ptr<Communicator> communicator,
                                                         std::function<void()> settle) {
  return std::make_unique<SettlingCommunicator>(std::move(communicator), std::move(settle));
}

}  // namespace scorenet::comm
