#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include "models/kernels/channels_last.hpp"
#include "models/kernels/channels_last_kernels.hpp"
#include "models/kernels/cuda_calls.hpp"
#include "models/kernels/followed.hpp"

namespace scorenet::models::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using MaybeTensor = std::optional<torch::Tensor>;

ImageShape shape_of(const torch::Tensor& x) {
  return {x.size(0), x.size(2) * x.size(3), x.size(1), element_of(x)};
}

torch::Tensor dense(const torch::Tensor& x) {
  return x.contiguous(torch::MemoryFormat::ChannelsLast);
}
torch::Tensor dense_like(const torch::Tensor& x) {
  return torch::empty(x.sizes(), x.options().requires_grad(false),
                      torch::MemoryFormat::ChannelsLast);
}
// float32 and dense; undefined stays so.
torch::Tensor as_floats(const MaybeTensor& t) {
  return t && t->defined() ? t->to(torch::kFloat32).contiguous() : torch::Tensor();
}
NormRule rule_of(const NormSettings& settings) {
  return {settings.groups, static_cast<float>(settings.eps), settings.silu};
}

struct Normed {
  torch::Tensor y, statistics, centres;
};

// x dense; shift, weight and bias float32.
Normed norm_forward(const torch::Tensor& x, const torch::Tensor& shift, const torch::Tensor& weight,
                    const torch::Tensor& bias, const NormSettings& settings, bool wants_centres) {
  const c10::cuda::CUDAGuard guard(x.device());
  Normed out{dense_like(x), floats(x, {x.size(0), settings.groups, 2}),
             wants_centres ? floats(x, {x.size(0), x.size(1)}) : torch::Tensor()};
  if (x.numel() == 0) return out;
  const NormForward data{x.const_data_ptr(),
                         numbers(shift),
                         numbers(weight),
                         numbers(bias),
                         out.y.mutable_data_ptr(),
                         numbers_to_fill(out.statistics),
                         numbers_to_fill(out.centres)};
  check_launch(launch_norm_forward(shape_of(x), rule_of(settings), data, stream_of(x)),
               "group norm");
  return out;
}

struct NormGradients {
  torch::Tensor x, shift, weight, bias;
};

NormGradients norm_backward(const variable_list& saved, const NormSettings& settings,
                            const torch::Tensor& d_y, const torch::Tensor& d_beside) {
  const torch::Tensor &x = saved[0], &shift = saved[1], &weight = saved[2], &bias = saved[3];
  const c10::cuda::CUDAGuard guard(x.device());
  const int64_t batch = x.size(0), channels = x.size(1);
  const torch::Tensor d_y_dense = dense(d_y);
  const torch::Tensor d_beside_dense = d_beside.defined() ? dense(d_beside) : d_beside;
  const torch::Tensor d_x = dense_like(x), sums = floats(x, {batch, 2, channels});
  const torch::Tensor d_shift = shift.defined() ? floats(x, {batch, channels}) : torch::Tensor();
  const NormBackward data{x.const_data_ptr(),
                          numbers(shift),
                          numbers(weight),
                          numbers(bias),
                          numbers(saved[4]),
                          numbers(saved[5]),
                          d_y_dense.const_data_ptr(),
                          d_beside_dense.defined() ? d_beside_dense.const_data_ptr() : nullptr,
                          d_x.mutable_data_ptr(),
                          numbers_to_fill(d_shift),
                          numbers_to_fill(sums)};
  check_launch(launch_norm_backward(shape_of(x), rule_of(settings), data, stream_of(x)),
               "group norm's gradient");
  const torch::Tensor parameters = column_sums(sums);
  return {d_x, d_shift, parameters[0], parameters[1]};
}

// Arguments: x, shift, weight, bias, settings, whether x is a second result.
class ChannelsLastNorm : public torch::autograd::Function<ChannelsLastNorm> {
 public:
  static variable_list forward(AutogradContext* context, const torch::Tensor& x,
                               const MaybeTensor& shift, const torch::Tensor& weight,
                               const torch::Tensor& bias, const NormSettings& settings,
                               bool keeps_input) {
    const torch::Tensor added = shift.value_or(torch::Tensor());
    const Normed out = norm_forward(x, added, weight, bias, settings, added.defined());
    context->save_for_backward({x, added, weight, bias, out.statistics, out.centres});
    context->saved_data["groups"] = settings.groups;
    context->saved_data["eps"] = settings.eps;
    context->saved_data["silu"] = settings.silu;
    context->set_materialize_grads(false);
    if (keeps_input) return {out.y, x};
    return {out.y};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad) {
    const variable_list saved = context->get_saved_variables();
    const NormSettings settings{context->saved_data["groups"].toInt(),
                                context->saved_data["eps"].toDouble(),
                                context->saved_data["silu"].toBool()};
    const torch::Tensor d_y = grad[0], d_beside = grad.size() > 1 ? grad[1] : torch::Tensor();
    if (!d_y.defined()) return {d_beside, {}, {}, {}, {}, {}};
    if (torch::GradMode::is_enabled()) {  // create_graph
      const variable_list inputs(saved.begin(), saved.begin() + 4);
      variable_list all = differentiable_gradients(
          channels_last_formula(saved[0], saved[1], saved[2], saved[3], settings), inputs, d_y);
      if (all[0].defined() && d_beside.defined()) all[0] = all[0] + d_beside;
      return {all[0], all[1], all[2], all[3], {}, {}};
    }
    const NormGradients g = norm_backward(saved, settings, d_y, d_beside);
    return {g.x, g.shift, g.weight, g.bias, {}, {}};
  }
};

// y = h + bias + residual: the gradient is handed on, and summed for the bias.
class BiasAndResidual : public torch::autograd::Function<BiasAndResidual> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& h,
                               const torch::Tensor& bias, const MaybeTensor& residual) {
    context->saved_data["has_residual"] = residual.has_value();
    return add(h, bias, residual.value_or(torch::Tensor()));
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad) {
    const torch::Tensor& d_y = grad[0];
    const bool to_bias = context->needs_input_grad(1);
    const torch::Tensor d_bias = !to_bias ? torch::Tensor()
                                 : torch::GradMode::is_enabled()
                                     ? d_y.to(torch::kFloat32).sum({0, 2, 3})
                                     : channel_sums(dense(d_y));
    const bool has_residual = context->saved_data["has_residual"].toBool();
    return {d_y, d_bias, has_residual ? d_y : torch::Tensor()};
  }

  static torch::Tensor add(const torch::Tensor& h, const torch::Tensor& bias,
                           const torch::Tensor& residual) {
    const c10::cuda::CUDAGuard guard(h.device());
    const torch::Tensor y = dense_like(h);
    if (h.numel() == 0) return y;
    check_launch(launch_add(shape_of(h), h.const_data_ptr(), numbers(bias),
                            residual.defined() ? residual.const_data_ptr() : nullptr,
                            y.mutable_data_ptr(), stream_of(h)),
                 "bias and residual");
    return y;
  }

 private:
  static torch::Tensor channel_sums(const torch::Tensor& x) {
    const c10::cuda::CUDAGuard guard(x.device());
    const ImageShape shape = shape_of(x);
    const torch::Tensor partial = floats(x, {channel_sum_rows(shape), shape.channels});
    check_launch(
        launch_channel_sums(shape, x.const_data_ptr(), numbers_to_fill(partial), stream_of(x)),
        "channel sums");
    return column_sums(partial);
  }
};

// Linear in x, and its gradient is the same map.
class SlotDropout : public torch::autograd::Function<SlotDropout> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& key, const torch::Tensor& slots,
                               double probability) {
    context->save_for_backward({key, slots});
    context->saved_data["probability"] = probability;
    return drop(x, {key, slots}, probability);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad) {
    const variable_list saved = context->get_saved_variables();
    return {
        drop_by_slots(grad[0], {saved[0], saved[1]}, context->saved_data["probability"].toDouble()),
        {},
        {},
        {}};
  }

  static torch::Tensor drop(const torch::Tensor& x, const DeviceSlots& at, double probability) {
    const c10::cuda::CUDAGuard guard(x.device());
    const bool images = x.dim() == 4 && x.is_contiguous(torch::MemoryFormat::ChannelsLast);
    const torch::Tensor in = images ? x : x.contiguous();
    const torch::Tensor y = torch::empty_like(in);
    if (x.numel() == 0) return y;
    // Any other layout is an image of one channel.
    const ImageShape shape =
        images ? shape_of(in) : ImageShape{x.size(0), x.numel() / x.size(0), 1, element_of(x)};
    const Dropout rule{at.key.const_data_ptr<int64_t>(), at.slots.const_data_ptr<int64_t>(),
                       static_cast<float>(probability),
                       static_cast<float>(1.0 / (1.0 - probability))};
    check_launch(
        launch_dropout(shape, rule, in.const_data_ptr(), y.mutable_data_ptr(), stream_of(x)),
        "dropout");
    return y;
  }
};

bool fits(const torch::Tensor& x, const NormSettings& settings) {
  return x.numel() > 0 && norm_fits(shape_of(x), settings.groups);
}

}  // namespace

bool has_gpu_route(const torch::Tensor& x) {
  return x.is_cuda() && is_element(x.scalar_type()) && device_runs_kernels(x.device().index());
}

torch::Tensor channels_last_norm(const torch::Tensor& x, const torch::Tensor& shift,
                                 const torch::Tensor& weight, const torch::Tensor& bias,
                                 const NormSettings& settings) {
  if (!fits(x, settings)) return dense(channels_last_formula(x, shift, weight, bias, settings));
  const torch::Tensor x_dense = dense(x), added = as_floats(shift);
  if (!is_followed({x_dense, added, weight, bias})) {
    return norm_forward(x_dense, added, weight, bias, settings, /*wants_centres=*/false).y;
  }
  const MaybeTensor maybe_shift = added.defined() ? MaybeTensor(added) : std::nullopt;
  return ChannelsLastNorm::apply(x_dense, maybe_shift, weight, bias, settings, false)[0];
}

NormedInput channels_last_norm_keeping(const torch::Tensor& x, const torch::Tensor& weight,
                                       const torch::Tensor& bias, const NormSettings& settings) {
  if (!fits(x, settings) || !is_followed({x, weight, bias})) {
    return {channels_last_norm(x, {}, weight, bias, settings), x};
  }
  const variable_list out =
      ChannelsLastNorm::apply(dense(x), MaybeTensor(), weight, bias, settings, true);
  return {out[0], out[1]};
}

torch::Tensor add_bias_and_residual(const torch::Tensor& h, const torch::Tensor& bias,
                                    const torch::Tensor& residual) {
  const torch::Tensor h_dense = dense(h);
  const MaybeTensor other = residual.defined() ? MaybeTensor(dense(residual)) : std::nullopt;
  if (is_followed({h_dense, bias, residual})) return BiasAndResidual::apply(h_dense, bias, other);
  return BiasAndResidual::add(h_dense, bias, other.value_or(torch::Tensor()));
}

torch::Tensor drop_by_slots(const torch::Tensor& x, const DeviceSlots& at, double probability) {
  if (is_followed({x})) return SlotDropout::apply(x, at.key, at.slots.contiguous(), probability);
  return SlotDropout::drop(x, {at.key, at.slots.contiguous()}, probability);
}

}  // namespace scorenet::models::kernels
