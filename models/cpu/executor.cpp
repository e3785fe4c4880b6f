#include "models/cpu/executor.hpp"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <map>
#include <mutex>
#include <utility>

#include "models/cpu/bf16_kernels.hpp"
#include "models/cpu/planned_network.hpp"
#include "models/cpu/tiles.hpp"
#include "models/kernels/followed.hpp"

namespace scorenet::models::cpu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Reference = std::function<torch::Tensor(const torch::Tensor&, const torch::Tensor&)>;

// Places in the list of tensors that the node is given; the parameters stand behind.
enum Input { kX, kTime, kParameters };
constexpr size_t kNoTensors = 3;  // what else it is given

struct Kept : torch::CustomClassHolder {
  double dropout = 0;
  std::shared_ptr<PlannedNetwork> network;
  std::shared_ptr<PackedWeights> packed;
  Reference reference;
};

std::vector<torch::Tensor> parameters_in(const variable_list& tensors) {
  return {tensors.begin() + kParameters, tensors.end()};
}

class UNetNode : public torch::autograd::Function<UNetNode> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, at::TensorList in,
                               const std::shared_ptr<PlannedNetwork>& network,
                               const Dropout& dropout, const Reference& reference) {
    variable_list tensors(in.begin(), in.end());
    ForwardState state;
    const torch::Tensor y = network->forward(tensors[kX].contiguous(), tensors[kTime].contiguous(),
                                             parameters_in(tensors), dropout, &state);
    auto kept = c10::make_intrusive<Kept>();
    kept->network = network;
    kept->packed = state.packed;
    kept->reference = reference;
    kept->dropout = dropout.probability;
    ctx->saved_data["kept"] = c10::IValue::make_capsule(std::move(kept));
    // Saved as tensors, the activations are given back as soon as the backward pass is over.
    tensors.push_back(state.values);
    tensors.push_back(state.statistics);
    tensors.push_back(state.masks);
    ctx->save_for_backward(std::move(tensors));
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradient) {
    const auto kept = c10::static_intrusive_pointer_cast<Kept>(ctx->saved_data["kept"].toCapsule());
    variable_list tensors = ctx->get_saved_variables();
    ForwardState state;
    state.packed = kept->packed;
    state.masks = tensors.back();
    tensors.pop_back();
    state.statistics = tensors.back();
    tensors.pop_back();
    state.values = tensors.back();
    tensors.pop_back();
    if (torch::GradMode::is_enabled())  // create_graph
      return differentiable(*ctx, *kept, tensors, gradient[0]);

    Wanted wanted{ctx->needs_input_grad(kX), ctx->needs_input_grad(kTime), false};
    for (size_t i = kParameters; i < tensors.size(); ++i)
      wanted.parameters = wanted.parameters || ctx->needs_input_grad(i);
    NetworkGradients made =
        kept->network->backward(gradient[0], tensors[kX].contiguous(), tensors[kTime].contiguous(),
                                parameters_in(tensors), state, kept->dropout, wanted);
    variable_list all{made.x, made.time};
    all.insert(all.end(), made.parameters.begin(), made.parameters.end());
    all.resize(tensors.size() + kNoTensors);
    return all;
  }

 private:
  // Gradients that can be differentiated again: the reference's.
  static variable_list differentiable(AutogradContext& ctx, const Kept& kept,
                                      const variable_list& tensors, const torch::Tensor& gradient) {
    variable_list wanted;
    std::vector<size_t> at;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (!ctx.needs_input_grad(i)) continue;
      wanted.push_back(tensors[i]);
      at.push_back(i);
    }
    const torch::Tensor y = kept.reference(tensors[kX], tensors[kTime]);
    const variable_list made = torch::autograd::grad({y}, wanted, {gradient}, /*retain_graph=*/true,
                                                     /*create_graph=*/true, /*allow_unused=*/true);
    variable_list all(tensors.size() + kNoTensors);
    for (size_t i = 0; i < at.size(); ++i) all[at[i]] = made[i];
    return all;
  }
};

}  // namespace

// A plan for each size of image in each arithmetic.
struct Executor::Plans {
  UNetOptions options;
  int64_t in_channels, out_channels;
  std::mutex mutex;
  std::map<std::tuple<int64_t, int64_t, Arithmetic>, std::shared_ptr<PlannedNetwork>> made;

  std::shared_ptr<PlannedNetwork> of(int64_t height, int64_t width, Arithmetic arithmetic) {
    const std::lock_guard<std::mutex> lock(mutex);
    auto& plan = made[{height, width, arithmetic}];
    if (plan == nullptr) {
      plan = std::make_shared<PlannedNetwork>(options, in_channels, out_channels,
                                              Area{height, width}, arithmetic);
    }
    return plan;
  }
};

bool executor_available(torch::Dtype dtype) {
  return has_fast_target() &&
         (dtype == torch::kFloat32 || (dtype == torch::kBFloat16 && bf16_available()));
}

std::string executor_unit(torch::Dtype dtype) {
  if (!executor_available(dtype)) return "";
  if (dtype == torch::kFloat32) return fast_target_name();
  return bf16_unit() == Bf16Unit::tiles ? "AMX" : "avx512_bf16";
}

Executor::Executor(const UNetOptions& options, int64_t in_channels, int64_t out_channels)
    : plans_(new Plans{options, in_channels, out_channels, {}, {}}) {}

Executor::~Executor() = default;

torch::Tensor Executor::forward(const ExecutorCall& call) {
  const auto network =
      plans_->of(call.x.size(2), call.x.size(3),
                 call.dtype == torch::kBFloat16 ? Arithmetic::bfloat16 : Arithmetic::float32);
  variable_list tensors{call.x, call.time.to(torch::kFloat32)};
  for (const std::string& name : network->parameters()) tensors.push_back(call.parameter(name));
  Dropout dropout;
  if (plans_->options.dropout > 0) dropout = {plans_->options.dropout, call.dropout};
  if (kernels::is_followed(tensors))
    return UNetNode::apply(at::TensorList(tensors), network, dropout, call.reference);
  return network->forward(call.x.contiguous(), tensors[kTime].contiguous(), parameters_in(tensors),
                          dropout, nullptr);
}

}  // namespace scorenet::models::cpu
