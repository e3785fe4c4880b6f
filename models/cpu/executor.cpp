#include "models/cpu/executor.hpp"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <map>
#include <mutex>
#include <utility>

#include "models/cpu/bf16_kernels.hpp"
#include "models/cpu/instruction_sets.hpp"
#include "models/cpu/planned_network.hpp"
#include "models/kernels/followed.hpp"

namespace scorenet::models::cpu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Reference = std::function<torch::Tensor(const torch::Tensor&, const torch::Tensor&)>;

// A forward pass and its way back, which one autograd node a layer shares.
struct Chain : torch::CustomClassHolder {
  std::shared_ptr<PlannedNetwork> network;
  Reference reference;
  std::shared_ptr<PackedWeights> packed;
  double dropout = 0;
  // Each layer's node, or null: nothing up to that layer wants a gradient. The last node holds all
  // others through its edges, and it alone reads this.
  std::vector<AutogradContext*> nodes;

  // Of the backward pass under way: one of the two.
  std::unique_ptr<BackwardPass> pass;
  std::vector<variable_list> differentiable;  // a layer's gradients, made by the reference

  int64_t last() const { return network->layers() - 1; }
  bool is_first(int64_t layer) const {
    return layer == 0 || nodes[static_cast<size_t>(layer) - 1] == nullptr;
  }
  // Whether the gradient of an input of a layer's node is wanted.
  bool wants(int64_t layer, size_t input) const {
    AutogradContext* const node = nodes[static_cast<size_t>(layer)];
    return node != nullptr && node->needs_input_grad(input);
  }
};

// What the last layer's node keeps.
enum Saved { kX, kTime, kValues, kStatistics, kMasks, kParameters };
// The inputs of a node: the first layer's are x, the noise level and its parameters, any other's
// the token of the layer before it and its parameters.
size_t inputs_before_parameters(int64_t layer) { return layer == 0 ? 2 : 1; }
constexpr size_t kNoTensors = 4;  // what else a node is given

// Layer by layer, so that autograd hands a layer's gradients on while the layers before it are
// under way: to a reducer of several ranks, say. A node computes nothing forward. From one to the
// next goes an empty token, and from the last the network's result.
class UNetNode : public torch::autograd::Function<UNetNode> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, at::TensorList,
                               const c10::intrusive_ptr<Chain>& chain, int64_t layer,
                               const torch::Tensor& result, const variable_list& saved) {
    ctx->saved_data["chain"] = c10::IValue::make_capsule(chain);
    ctx->saved_data["layer"] = layer;
    // Saved as tensors, the activations are given back as soon as the backward pass is over.
    ctx->save_for_backward(saved);
    chain->nodes.push_back(ctx);
    return result;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradient) {
    const auto chain =
        c10::static_intrusive_pointer_cast<Chain>(ctx->saved_data["chain"].toCapsule());
    const int64_t layer = ctx->saved_data["layer"].toInt();
    if (layer == chain->last()) begin(*chain, *ctx, gradient[0]);
    variable_list made = chain->pass != nullptr
                             ? next(*chain, layer)
                             : std::move(chain->differentiable.at(static_cast<size_t>(layer)));
    if (chain->is_first(layer)) chain->pass.reset();
    made.resize(made.size() + kNoTensors);
    return made;
  }

 private:
  static void begin(Chain& chain, AutogradContext& ctx, const torch::Tensor& gradient) {
    const variable_list saved = ctx.get_saved_variables();
    const std::vector<torch::Tensor> parameters{saved.begin() + kParameters, saved.end()};
    chain.pass.reset();
    chain.differentiable.clear();
    if (torch::GradMode::is_enabled()) {  // create_graph
      chain.differentiable = differentiable(chain, saved, parameters, gradient);
      return;
    }
    Wanted wanted{chain.wants(0, kX), chain.wants(0, kTime), false};
    for (int64_t layer = 0; layer <= chain.last(); ++layer) {
      const size_t before = inputs_before_parameters(layer);
      for (size_t i = 0; i < chain.network->parameters_of(layer).size(); ++i)
        wanted.parameters = wanted.parameters || chain.wants(layer, before + i);
    }
    const ForwardState state{saved[kValues], saved[kStatistics], saved[kMasks], chain.packed};
    chain.pass = chain.network->backward(
        {gradient, saved[kX], saved[kTime], parameters, state, chain.dropout, wanted});
  }

  static variable_list next(Chain& chain, int64_t layer) {
    chain.pass->to(layer);
    variable_list made{torch::zeros({0})};
    if (layer == 0) made = {chain.pass->x(), chain.pass->time()};
    for (torch::Tensor& g : chain.pass->parameters(layer)) made.push_back(std::move(g));
    return made;
  }

  // Gradients that can be differentiated again: the reference's, of all layers at once.
  static std::vector<variable_list> differentiable(const Chain& chain, const variable_list& saved,
                                                   const std::vector<torch::Tensor>& parameters,
                                                   const torch::Tensor& gradient) {
    std::vector<variable_list> made(chain.nodes.size());
    variable_list wanted;
    std::vector<torch::Tensor*> to;
    const auto want = [&](const torch::Tensor& of, torch::Tensor& place) {
      wanted.push_back(of);
      to.push_back(&place);
    };
    for (int64_t layer = chain.last(); layer >= 0; --layer) {
      const std::vector<int64_t>& of_layer = chain.network->parameters_of(layer);
      const size_t before = inputs_before_parameters(layer);
      variable_list& own = made[static_cast<size_t>(layer)];
      own.resize(before + of_layer.size());
      if (layer > 0) own[0] = torch::zeros({0});
      for (size_t i = 0; i < of_layer.size(); ++i) {
        if (chain.wants(layer, before + i))
          want(parameters[static_cast<size_t>(of_layer[i])], own[before + i]);
      }
    }
    for (const size_t i : {size_t{kX}, size_t{kTime}})
      if (chain.wants(0, i)) want(saved[i], made.front()[i]);
    const torch::Tensor y = chain.reference(saved[kX], saved[kTime]);
    const variable_list gradients =
        torch::autograd::grad({y}, wanted, {gradient}, /*retain_graph=*/true,
                              /*create_graph=*/true, /*allow_unused=*/true);
    for (size_t i = 0; i < to.size(); ++i) *to[i] = gradients[i];
    return made;
  }
};

// The result with a node for each layer behind it.
torch::Tensor followed_forward(const std::shared_ptr<PlannedNetwork>& network,
                               const torch::Tensor& x, const torch::Tensor& time,
                               const std::vector<torch::Tensor>& parameters, const Dropout& dropout,
                               const Reference& reference) {
  auto chain = c10::make_intrusive<Chain>();
  chain->network = network;
  chain->reference = reference;
  chain->dropout = dropout.probability;
  ForwardState state;
  torch::Tensor y;
  {
    const torch::NoGradGuard no_grad;
    y = network->forward(x.contiguous(), time.contiguous(), parameters, dropout, &state);
  }
  chain->packed = state.packed;
  variable_list saved{x, time, state.values, state.statistics, state.masks};
  saved.insert(saved.end(), parameters.begin(), parameters.end());

  torch::Tensor token;
  for (int64_t layer = 0; layer <= chain->last(); ++layer) {
    variable_list in{token};
    if (layer == 0) in = {x, time};
    for (const int64_t p : network->parameters_of(layer))
      in.push_back(parameters[static_cast<size_t>(p)]);
    const bool is_last = layer == chain->last();
    token = UNetNode::apply(at::TensorList(in), chain, layer, is_last ? y : torch::empty({0}),
                            is_last ? saved : variable_list{});
    if (!token.requires_grad()) chain->nodes.back() = nullptr;
  }
  return token;
}

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
  const torch::Tensor time = call.time.to(torch::kFloat32);
  std::vector<torch::Tensor> parameters;
  for (const std::string& name : network->parameters()) parameters.push_back(call.parameter(name));
  Dropout dropout;
  if (plans_->options.dropout > 0) dropout = {plans_->options.dropout, call.dropout};
  variable_list inputs{call.x, time};
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  if (kernels::is_followed(inputs))
    return followed_forward(network, call.x, time, parameters, dropout, call.reference);
  return network->forward(call.x.contiguous(), time.contiguous(), parameters, dropout, nullptr);
}

}  // namespace scorenet::models::cpu
