#include "models/flops.hpp"

#include <ATen/record_function.h>
#include <c10/util/ScopeExit.h>
#include <torch/utils.h>

#include <cstring>

namespace scorenet::models {
namespace {

// The callback of LibTorch's profiler hook is a plain function: the counter of the measurement
// under way is found here.
thread_local double* current_count = nullptr;

double elements(const c10::IValue& value) {
  return value.isTensor() ? static_cast<double>(value.toTensor().numel()) : 0.0;
}

// in: input, weight, bias, stride, padding, dilation, ... of aten::convolution, the lists with one
// entry for all dimensions or one each. Transposed convolutions are not used here.
double convolution_operations(c10::ArrayRef<const c10::IValue> in) {
  const torch::Tensor input = in[0].toTensor(), weight = in[1].toTensor();
  const auto entry = [&](size_t list, int64_t dim) {
    const auto values = in[list].toIntVector();
    return values.size() == 1 ? values[0] : values[static_cast<size_t>(dim) - 2];
  };
  auto operations = 2.0 * static_cast<double>(input.size(0) * weight.numel());
  for (int64_t dim = 2; dim < input.dim(); ++dim) {
    const int64_t reach = entry(5, dim) * (weight.size(dim) - 1) + 1;
    const int64_t steps = (input.size(dim) + 2 * entry(4, dim) - reach) / entry(3, dim);
    operations *= static_cast<double>(steps + 1);
  }
  return operations;
}

double operations(const char* name, c10::ArrayRef<const c10::IValue> in) {
  const auto is = [name](const char* other) { return std::strcmp(name, other) == 0; };
  if (is("aten::convolution")) return convolution_operations(in);
  if (is("aten::mm") || is("aten::bmm")) {
    return 2.0 * elements(in[0]) * static_cast<double>(in[1].toTensor().size(-1));
  }
  if (is("aten::addmm") || is("aten::baddbmm")) {
    return 2.0 * elements(in[1]) * static_cast<double>(in[2].toTensor().size(-1));
  }
  if (is("aten::_scaled_dot_product_flash_attention_for_cpu")) {
    return 4.0 * elements(in[0]) * static_cast<double>(in[1].toTensor().size(-2));
  }
  return 0.0;
}

std::unique_ptr<at::ObserverContext> on_enter(const at::RecordFunction& call) {
  const auto in = call.inputs();
  if (current_count != nullptr && !in.empty()) *current_count += operations(call.name(), in);
  return nullptr;
}

thread_local bool counting_forward = false;

class CountingScope {
 public:
  explicit CountingScope(double* count)
      : outer_(current_count),
        handle_(at::addThreadLocalCallback(
            at::RecordFunctionCallback(on_enter).needsInputs(true).scopes(
                {at::RecordScope::FUNCTION}))) {
    current_count = count;
  }
  ~CountingScope() {
    at::removeCallback(handle_);
    current_count = outer_;
  }
  CountingScope(const CountingScope&) = delete;
  CountingScope& operator=(const CountingScope&) = delete;

 private:
  double* outer_;
  at::CallbackHandle handle_;
};

}  // namespace

bool counts_operations() { return counting_forward; }

int64_t parameter_count(const torch::nn::Module& module) {
  int64_t count = 0;
  for (const auto& parameter : module.parameters()) count += parameter.numel();
  return count;
}

double count_flops(const std::function<void()>& work) {
  double count = 0.0;
  const CountingScope scope(&count);
  work();
  return count;
}

double forward_flops(ScoreNetwork& network, c10::IntArrayRef example_shape) {
  const torch::NoGradGuard no_grad;
  std::vector<int64_t> shape{1};
  shape.insert(shape.end(), example_shape.begin(), example_shape.end());
  const auto parameters = network.parameters();
  const auto options = parameters.empty() ? torch::TensorOptions() : parameters[0].options();
  NetworkInput input;
  // Asked for its input's gradient, the CPU fast path stands aside, as the executor does for
  // counts_operations(): ATen's operations can be counted, kernels of our own cannot.
  input.x = torch::zeros(shape, options.requires_grad(true));
  input.log_snr = torch::zeros({1}, options.requires_grad(false));
  counting_forward = true;
  const auto stop = c10::make_scope_exit([] { counting_forward = false; });
  return count_flops([&] { network.forward(input); });
}

}  // namespace scorenet::models
