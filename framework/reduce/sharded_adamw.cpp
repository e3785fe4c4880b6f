#include "framework/reduce/sharded_adamw.hpp"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <string>

#include "framework/core/check.hpp"
#include "framework/core/error.hpp"

namespace scorenet::reduce {
namespace {

constexpr int64_t kAlignment = 16;

comm::Buffer buffer_of(const torch::Tensor& tensor) {
  return {tensor.data_ptr(), tensor.numel(), comm::DataType::float32};
}

void check_vector(const torch::Tensor& tensor, int64_t size, const std::string& what) {
  if (tensor.dim() == 1 && tensor.numel() == size && tensor.is_contiguous() && tensor.is_cpu() &&
      tensor.scalar_type() == torch::kFloat32) {
    return;
  }
  throw ShapeError("sharded AdamW: " + what + " of shape " + shape_string(tensor.sizes()) +
                   " and type " + c10::toString(tensor.scalar_type()) + "; expected (" +
                   std::to_string(size) + "), float32, contiguous, on the CPU.");
}

}  // namespace

int64_t sharded_total(int64_t total, int ranks) {
  const int64_t unit = ranks * kAlignment;
  return (total + unit - 1) / unit * unit;
}

ShardedAdamW::ShardedAdamW(torch::Tensor flat_parameters, int64_t total,
                           comm::Communicator& communicator, const AdamWOptions& options)
    : parameters_(flat_parameters.detach()),
      total_(total),
      communicator_(communicator),
      options_(options),
      count_(sharded_total(total, communicator.size()) / communicator.size()) {
  check_vector(parameters_, count_ * communicator.size(), "flat parameters");
  mine_ = parameters_.narrow(0, communicator.rank() * count_, count_);
  gradient_ = torch::zeros_like(mine_);
  first_moment_ = torch::zeros_like(mine_);
  second_moment_ = torch::zeros_like(mine_);
  for (size_t i = 0; i < options.ema_decays.size(); ++i) ema_.push_back(mine_.clone());
  step_ = torch::zeros({}, torch::kFloat32);
}

double ShardedAdamW::reduce(const torch::Tensor& flat_gradient) {
  check_vector(flat_gradient, parameters_.numel(), "flat gradient");
  communicator_
      .reduce_scatter(buffer_of(flat_gradient), buffer_of(gradient_), comm::ReduceOp::sum,
                      "gradient shards")
      .wait();
  double square = gradient_.to(torch::kFloat64).square().sum().item<double>();
  communicator_
      .all_reduce({&square, 1, comm::DataType::float64}, comm::ReduceOp::sum, "gradient norm")
      .wait();
  return std::sqrt(square);
}

void ShardedAdamW::step(double learning_rate, double gradient_scale) {
  const torch::NoGradGuard no_grad;
  if (gradient_scale != 1) gradient_.mul_(gradient_scale);
  step_.add_(1);
  at::_fused_adamw_({mine_}, {gradient_}, {first_moment_}, {second_moment_}, {}, {step_},
                    learning_rate, options_.beta1, options_.beta2, options_.weight_decay,
                    options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  for (size_t i = 0; i < ema_.size(); ++i) ema_[i].lerp_(mine_, 1 - options_.ema_decays[i]);
  parameters_.copy_(gathered(mine_));
}

torch::Tensor ShardedAdamW::gathered(const torch::Tensor& part) {
  torch::Tensor whole = torch::empty_like(parameters_);
  communicator_.all_gather(buffer_of(part), buffer_of(whole), "shards").wait();
  return whole;
}

AdamWState ShardedAdamW::state() {
  AdamWState state;
  state.step = int64_t(step_.item<float>());
  state.first_moment = gathered(first_moment_).narrow(0, 0, total_).clone();
  state.second_moment = gathered(second_moment_).narrow(0, 0, total_).clone();
  for (const torch::Tensor& ema : ema_) {
    state.ema.push_back(gathered(ema).narrow(0, 0, total_).clone());
  }
  return state;
}

torch::Tensor ShardedAdamW::part_of(const torch::Tensor& whole) const {
  check_vector(whole, total_, "state");
  torch::Tensor padded = torch::zeros_like(parameters_);
  padded.narrow(0, 0, total_).copy_(whole);
  return padded.narrow(0, communicator_.rank() * count_, count_).clone();
}

void ShardedAdamW::load(const AdamWState& state) {
  if (state.ema.size() != ema_.size()) {
    throw ShapeError("sharded AdamW: the state has " + std::to_string(state.ema.size()) +
                     " EMA copies, expected " + std::to_string(ema_.size()) + ".");
  }
  first_moment_ = part_of(state.first_moment);
  second_moment_ = part_of(state.second_moment);
  for (size_t i = 0; i < ema_.size(); ++i) ema_[i] = part_of(state.ema[i]);
  step_.fill_(double(state.step));
}

}  // namespace scorenet::reduce
