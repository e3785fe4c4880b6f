#include "framework/train/step_inputs.hpp"

namespace scorenet::train {

StepInput::StepInput(c10::IntArrayRef shape, torch::Dtype dtype, torch::Device device)
    : device_(torch::zeros(shape, torch::dtype(dtype).device(device))) {
  const auto options = torch::dtype(dtype).pinned_memory(device.is_cuda());
  for (torch::Tensor& host : host_) host = torch::zeros(shape, options);
}

torch::Tensor& StepInput::next() { return host_[turn_]; }

void StepInput::send() {
  device_.copy_(host_[turn_], /*non_blocking=*/true);
  turn_ = 1 - turn_;
}

void OptionalInput::allocate(const torch::Tensor& first, torch::Device device) {
  if (first.defined())
    input_ = std::make_unique<StepInput>(first.sizes(), first.scalar_type(), device);
}

void OptionalInput::send(const torch::Tensor& values) {
  if (!input_) return;
  input_->next().copy_(values);
  input_->send();
}

torch::Tensor OptionalInput::on_device() const {
  return input_ ? input_->on_device() : torch::Tensor();
}

size_t PackedInput::add(int64_t count) {
  parts_.push_back({total_, count});
  total_ += count;
  return parts_.size() - 1;
}

void PackedInput::allocate(torch::Dtype dtype, torch::Device device) {
  input_ = std::make_unique<StepInput>(c10::IntArrayRef{total_}, dtype, device);
}

torch::Tensor PackedInput::next(size_t part) {
  return input_->next().narrow(0, parts_[part].first, parts_[part].count);
}

torch::Tensor PackedInput::on_device(size_t part) const {
  return input_->on_device().narrow(0, parts_[part].first, parts_[part].count);
}

}  // namespace scorenet::train
