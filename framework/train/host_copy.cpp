#include "framework/train/host_copy.hpp"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
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

// The same of a rank's part: what lies in it of each parameter.
void add_pieces(const optim::FlatParameters& parameters,
                const std::vector<reduce::OwnedRange>& owned, const torch::Tensor& part,
                const std::string& prefix, std::vector<checkpoint::TensorPiece>& pieces) {
  for (size_t i = 0; i < parameters.names().size(); ++i) {
    const reduce::Segment whole{parameters.layout().offsets[i], parameters.layout().sizes[i]};
    for (const reduce::OwnedRange& piece : reduce::within(owned, whole)) {
      pieces.push_back({prefix + parameters.names()[i], parameters.parameters()[i].sizes().vec(),
                        piece.offset - whole.offset,
                        part.narrow(0, piece.part_offset, piece.count)});
    }
  }
}

}  // namespace

int64_t HostCopy::bytes_for(const optim::FlatParameters& parameters, const Update& update) {
  size_t bytes = parameters.values().nbytes();
  for (const StateBuffer& buffer : update.buffers()) bytes += buffer.values.nbytes();
  return static_cast<int64_t>(bytes);
}

int64_t HostCopy::bytes() const {
  size_t bytes = 0;
  for (const torch::Tensor& flat : flats_) bytes += flat.defined() ? flat.nbytes() : 0;
  return static_cast<int64_t>(bytes);
}

void HostCopy::allocate(const TrainState& state, bool whole, bool in_parts) {
  if (!flats_.empty()) return;
  const torch::Tensor& values = state.parameters.values();
  const auto options = torch::dtype(values.dtype()).pinned_memory(values.is_cuda());
  for (const StateBuffer& buffer : buffers_of(state)) {
    const bool is_part = in_parts && buffer.kind == StateBuffer::Kind::sharded;
    flats_.emplace_back();
    if (!is_part && !whole) continue;
    // Filled, so that the first save need not wait for the system to find the pages.
    flats_.back() =
        torch::empty({is_part ? buffer.values.numel() : values.numel()}, options).zero_();
    if (is_part)
      add_pieces(state.parameters, state.update.owned(), flats_.back(), buffer.prefix,
                 parts_[buffer.file]);
    else
      add_views(state.parameters, flats_.back(), buffer.prefix, files_[buffer.file]);
  }
  if (!values.is_cpu()) arrived_ = std::make_shared<c10::Event>(values.device().type());
}

void HostCopy::take(const TrainState& state, comm::Communicator& comm, bool in_parts) {
  const torch::NoGradGuard no_grad;
  const bool mine = comm.rank() == 0;
  if (mine || in_parts) allocate(state, mine, in_parts);
  const auto buffers = buffers_of(state);
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (in_parts && buffers[i].kind == StateBuffer::Kind::sharded) {
      flats_[i].copy_(buffers[i].values, /*non_blocking=*/true);
      continue;
    }
    const torch::Tensor whole = state.update.whole(buffers[i]);
    if (mine) flats_[i].copy_(whole, /*non_blocking=*/true);
  }
  for (const StateTensor& tensor : tensors_of(state)) {
    if (mine) files_[tensor.file][tensor.name] = tensor.values.detach().to(torch::kCPU).clone();
  }
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
