#include "framework/train/host_copy.hpp"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>
#include <thread>

namespace scorenet::train {
namespace {

// The values of a flat buffer by parameter name.
void add_views(const optim::FlatParameters& parameters, const torch::Tensor& flat,
               const std::string& prefix, checkpoint::TensorMap& tensors) {
  for (size_t i = 0; i < parameters.names().size(); ++i)
    tensors[prefix + parameters.names()[i]] = parameters.view_of(flat, i);
}

}  // namespace

int64_t HostCopy::bytes_for(const optim::FlatParameters& parameters, const Update& update) {
  const size_t buffers =
      1 + update.buffers().size();  // the weights, and buffers_of() of the update
  return static_cast<int64_t>(buffers * parameters.values().nbytes());
}

void HostCopy::allocate(const TrainState& state) {
  if (!flats_.empty()) return;
  const torch::Tensor& values = state.parameters.values();
  const auto options = torch::dtype(values.dtype()).pinned_memory(values.is_cuda());
  for (const StateBuffer& buffer : buffers_of(state)) {
    // Filled, so that the first save need not wait for the system to find the pages.
    flats_.push_back(torch::empty({values.numel()}, options).zero_());
    add_views(state.parameters, flats_.back(), buffer.prefix, files_[buffer.file]);
  }
  if (!values.is_cpu()) arrived_ = std::make_shared<c10::Event>(values.device().type());
}

void HostCopy::take(const TrainState& state, comm::Communicator& comm) {
  const torch::NoGradGuard no_grad;
  const bool mine = comm.rank() == 0;
  if (mine) allocate(state);
  const auto buffers = buffers_of(state);
  for (size_t i = 0; i < buffers.size(); ++i) {
    const torch::Tensor whole = state.update.whole(buffers[i]);
    if (mine) flats_[i].copy_(whole, /*non_blocking=*/true);
  }
  if (!mine) return;
  for (const StateTensor& tensor : tensors_of(state))
    files_[tensor.file][tensor.name] = tensor.values.detach().to(torch::kCPU).clone();
  if (!arrived_) return;
  const torch::Device device = state.parameters.values().device();
  arrived_->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
}

checkpoint::TensorMap HostCopy::average(const TrainState& state, size_t profile) const {
  const std::string prefix = optim::ema_name(state.update.ema_profiles()[profile]) + ".";
  const auto buffers = buffers_of(state);
  checkpoint::TensorMap tensors;
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (buffers[i].file == "ema.safetensors" && buffers[i].prefix == prefix)
      add_views(state.parameters, flats_[i], "", tensors);
  }
  return tensors;
}

void HostCopy::wait() const { wait_for(arrived_); }

void wait_for(const std::shared_ptr<c10::Event>& event) {
  while (event && !event->query()) std::this_thread::sleep_for(std::chrono::microseconds(200));
}

}  // namespace scorenet::train
