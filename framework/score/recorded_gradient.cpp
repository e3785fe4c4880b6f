#include "framework/score/recorded_gradient.hpp"

#include <c10/util/Exception.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

namespace scorenet::score {
namespace {

using Passes = RecordedGradient::Passes;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// `batch` rows: those of t in turns.
torch::Tensor with_rows(const torch::Tensor& t, int64_t batch) {
  const auto rows = torch::arange(batch, torch::dtype(torch::kInt64).device(t.device()));
  return t.detach().index_select(0, rows.remainder(t.size(0)));
}

// The backward pass's own result keeps the graph of autograd, so that it can be asked for again.
torch::Tensor gradient_in_x(const Passes& passes) {
  return torch::autograd::grad({passes.result}, {passes.inputs.x}, {passes.d_result},
                               /*retain_graph=*/true)[0];
}

void record(Passes& passes, const NetworkCall& call) {
  const torch::AutoGradMode derivatives(true);
  passes.inputs = call.mapped([&](const torch::Tensor& t) { return with_rows(t, passes.rows); });
  passes.inputs.x.requires_grad_(true);
  // Once as it is, so that libraries have chosen their kernels for the backward pass too.
  passes.result = passes.evaluate(passes.inputs);
  passes.d_result = torch::ones_like(passes.result);
  gradient_in_x(passes);
  passes.result = torch::Tensor();  // autograd ties a leaf to the stream of its first living graph
  const torch::Device device = call.x.device();
  const auto keep = [&](const std::function<void()>& work) {
    std::shared_ptr<DeviceGraph> graph = record_graph(device, work, passes.memory->last.get());
    passes.memory->last = graph;
    return graph;
  };
  passes.forward = keep([&passes] {
    const torch::AutoGradMode also_at_a_launch(true);
    passes.result = passes.evaluate(passes.inputs);
  });
  passes.backward = keep([&passes] { passes.d_x = gradient_in_x(passes); });
  // What the forward pass kept for the backward pass goes back to the graphs' memory, in which
  // others are recorded; each launch fills it anew. (Undefined: a stand-in that only launches.)
  if (passes.result.defined()) passes.result = passes.result.detach();
}

// False where the device's memory is too small for it.
bool record_if_it_fits(Passes& passes, const NetworkCall& call) {
  try {
    record(passes, call);
  } catch (const c10::OutOfMemoryError&) {
    passes.too_large = true;
    passes.inputs = {};
    passes.result = passes.d_result = passes.d_x = torch::Tensor();
    passes.forward = passes.backward = nullptr;
  }
  return !passes.too_large;
}

// One call: what its backward pass needs.
struct Pass : torch::CustomClassHolder {
  Pass(std::shared_ptr<Passes> passes, NetworkCall input)
      : of(std::move(passes)), call(std::move(input)) {}

  // REQUIRES the memory's mutex.
  void launch_forward() {
    refill(of->inputs, call);
    of->forward->launch();
    launch = ++of->memory->launches;
  }

  torch::Tensor backward(const torch::Tensor& d_result) {
    const std::lock_guard lock(of->memory->mutex);
    // Something else has been launched since: what it left is not this call's.
    if (launch != of->memory->launches) launch_forward();
    const int64_t batch = call.x.size(0);
    of->d_result.narrow(0, 0, batch).copy_(d_result);
    of->backward->launch();
    return of->d_x.narrow(0, 0, batch).clone();
  }

  std::shared_ptr<Passes> of;
  NetworkCall call;
  int64_t launch = 0;
};

class RecordedPass : public torch::autograd::Function<RecordedPass> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& x,
                               const c10::intrusive_ptr<Pass>& pass) {
    context->save_for_backward({x});
    context->saved_data["pass"] = c10::IValue::make_capsule(pass);
    pass->launch_forward();
    return pass->of->result.narrow(0, 0, x.size(0)).clone();
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad) {
    const auto pass =
        c10::static_intrusive_pointer_cast<Pass>(context->saved_data["pass"].toCapsule());
    if (torch::GradMode::is_enabled()) {  // create_graph
      NetworkCall call = pass->call;
      call.x = context->get_saved_variables()[0];
      return {torch::autograd::grad({pass->of->evaluate(call)}, {call.x}, grad,
                                    /*retain_graph=*/true, /*create_graph=*/true)[0],
              {}};
    }
    return {pass->backward(grad[0]), {}};
  }
};

}  // namespace

std::shared_ptr<Passes> RecordedGradient::passes_for(int64_t batch, const CallKind& kind) {
  Family& family = families_[kind];
  if (batch > family.largest) family = {batch, {}};
  const int64_t quarter = (4 * batch - 1) / family.largest;  // from 0
  auto& passes = family.quarters[static_cast<size_t>(quarter)];
  if (!passes) {
    passes = std::make_shared<Passes>();
    passes->memory = memory_;
    passes->rows = ((quarter + 1) * family.largest + 3) / 4;
  }
  return passes;
}

torch::Tensor RecordedGradient::operator()(const Evaluate& evaluate, const NetworkCall& call,
                                           torch::Dtype compute_dtype) {
  const std::lock_guard lock(memory_->mutex);
  const auto passes = passes_for(call.x.size(0), kind_of(call, compute_dtype));
  if (passes->too_large || passes->calls++ < kEagerCalls) return evaluate(call);
  if (!passes->forward) {
    passes->evaluate = evaluate;
    if (!record_if_it_fits(*passes, call)) return evaluate(call);
  }
  const NetworkCall detached = call.mapped([](const torch::Tensor& t) { return t.detach(); });
  return RecordedPass::apply(call.x, c10::make_intrusive<Pass>(passes, detached));
}

}  // namespace scorenet::score
