#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include "models/kernels/cuda_calls.hpp"
#include "models/kernels/token_kernels.hpp"
#include "models/kernels/tokens.hpp"

namespace scorenet::models::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

TokenShape shape_of(const torch::Tensor& x) {
  return {x.size(0), x.size(1), x.size(2), element_of(x)};
}

bool is_aligned(const torch::Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0;
}

// Dense, and where a pack of 16 bytes may begin.
torch::Tensor dense(const torch::Tensor& t) {
  const torch::Tensor there = t.contiguous();
  return is_aligned(there) ? there : there.clone();
}

// (B, C) of x's type whose rows begin on 16 bytes: a part of a longer row may stay where it is.
torch::Tensor as_rows(const torch::Tensor& t, const torch::Tensor& x) {
  const torch::Tensor rows = t.to(x.scalar_type());
  const bool stays = rows.stride(1) == 1 && rows.stride(0) * rows.element_size() % 16 == 0;
  return stays && is_aligned(rows) ? rows : rows.clone(torch::MemoryFormat::Contiguous);
}

ImageRows rows_of(const torch::Tensor& t) { return {t.const_data_ptr(), t.stride(0)}; }

// The parts of each image, added up: (B, ...).
torch::Tensor over_parts(const torch::Tensor& sums) {
  return sums.size(1) == 1 ? sums.squeeze(1) : sums.sum(1);
}

struct Normed {
  torch::Tensor y, statistics;
};

Normed norm_forward(const torch::Tensor& x, const torch::Tensor& shift, const torch::Tensor& scale,
                    double eps) {
  const c10::cuda::CUDAGuard guard(x.device());
  const Normed out{torch::empty_like(x), floats(x, {x.size(0) * x.size(1), 2})};
  const TokenNorm data{x.const_data_ptr(),       rows_of(shift),
                       rows_of(scale),           static_cast<float>(eps),
                       out.y.mutable_data_ptr(), numbers_to_fill(out.statistics)};
  check_launch(launch_token_norm(shape_of(x), data, stream_of(x)), "norm of tokens");
  return out;
}

// Arguments: x, shift, scale, eps. x is a second result.
class ModulatedNorm : public torch::autograd::Function<ModulatedNorm> {
 public:
  static variable_list forward(AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& shift, const torch::Tensor& scale, double eps) {
    const Normed out = norm_forward(x, shift, scale, eps);
    context->save_for_backward({x, shift, scale, out.statistics});
    context->saved_data["eps"] = eps;
    context->set_materialize_grads(false);
    return {out.y, x};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad) {
    const variable_list saved = context->get_saved_variables();
    const torch::Tensor &d_y = grad[0], &d_beside = grad[1];
    if (!d_y.defined()) return {d_beside, {}, {}, {}};
    if (torch::GradMode::is_enabled()) {  // create_graph
      const double eps = context->saved_data["eps"].toDouble();
      const variable_list inputs(saved.begin(), saved.begin() + 3);
      variable_list all = differentiable_gradients(
          modulated_norm_formula(saved[0], saved[1], saved[2], eps), inputs, d_y);
      if (all[0].defined() && d_beside.defined()) all[0] = all[0] + d_beside;
      return {all[0], all[1], all[2], {}};
    }
    return by_kernel(saved, dense(d_y), d_beside.defined() ? dense(d_beside) : d_beside);
  }

 private:
  static variable_list by_kernel(const variable_list& saved, const torch::Tensor& d_y,
                                 const torch::Tensor& d_beside) {
    const torch::Tensor &x = saved[0], &scale = saved[2];
    const c10::cuda::CUDAGuard guard(x.device());
    const torch::Tensor d_x = torch::empty_like(x);
    const torch::Tensor sums = floats(x, {x.size(0), token_parts(shape_of(x)), 2, x.size(2)});
    const TokenNormBackward data{x.const_data_ptr(),
                                 rows_of(scale),
                                 numbers(saved[3]),
                                 d_y.const_data_ptr(),
                                 d_beside.defined() ? d_beside.const_data_ptr() : nullptr,
                                 d_x.mutable_data_ptr(),
                                 numbers_to_fill(sums)};
    check_launch(launch_token_norm_backward(shape_of(x), data, stream_of(x)),
                 "gradient of the norm of tokens");
    const torch::Tensor of_images = over_parts(sums).to(x.scalar_type());
    return {d_x, of_images.select(1, 0), of_images.select(1, 1), {}};
  }
};

torch::Tensor gate_forward(const torch::Tensor& residual, const torch::Tensor& gate,
                           const torch::Tensor& h, const torch::Tensor& bias) {
  const c10::cuda::CUDAGuard guard(h.device());
  const torch::Tensor y = torch::empty_like(h);
  const TokenGate data{residual.const_data_ptr(), rows_of(gate), h.const_data_ptr(), numbers(bias),
                       y.mutable_data_ptr()};
  check_launch(launch_token_gate(shape_of(h), data, stream_of(h)), "gated sum");
  return y;
}

class GatedSum : public torch::autograd::Function<GatedSum> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& residual,
                               const torch::Tensor& gate, const torch::Tensor& h,
                               const torch::Tensor& bias) {
    context->save_for_backward({gate, h, bias});
    return gate_forward(residual, gate, h, bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad) {
    const variable_list saved = context->get_saved_variables();
    const torch::Tensor &gate = saved[0], &h = saved[1], &bias = saved[2];
    if (torch::GradMode::is_enabled()) {  // create_graph
      const torch::Tensor d_h = gate.unsqueeze(1) * grad[0];
      const torch::Tensor d_gate = (grad[0] * (h + bias.to(h.scalar_type()))).sum(1);
      return {grad[0], d_gate, d_h, d_h.to(torch::kFloat32).flatten(0, 1).sum(0)};
    }
    const c10::cuda::CUDAGuard guard(h.device());
    const torch::Tensor d_y = dense(grad[0]), d_h = torch::empty_like(h);
    const torch::Tensor sums = floats(h, {h.size(0), token_parts(shape_of(h)), 2, h.size(2)});
    const TokenGateBackward data{rows_of(gate),          h.const_data_ptr(),
                                 numbers(bias),          d_y.const_data_ptr(),
                                 d_h.mutable_data_ptr(), numbers_to_fill(sums)};
    check_launch(launch_token_gate_backward(shape_of(h), data, stream_of(h)),
                 "gradient of a gated sum");
    const torch::Tensor of_images = over_parts(sums);
    return {d_y, of_images.select(1, 0).to(gate.scalar_type()), d_h,
            column_sums((gate * of_images.select(1, 1)).contiguous())};
  }
};

// Every token is a pixel of one image.
ImageShape as_pixels(const torch::Tensor& h) {
  return {1, h.size(0) * h.size(1), h.size(2), element_of(h)};
}

torch::Tensor gelu_forward(const torch::Tensor& h, const torch::Tensor& bias) {
  const c10::cuda::CUDAGuard guard(h.device());
  const torch::Tensor y = torch::empty_like(h);
  check_launch(launch_gelu(as_pixels(h), h.const_data_ptr(), numbers(bias), y.mutable_data_ptr(),
                           stream_of(h)),
               "gelu");
  return y;
}

class GeluBehindBias : public torch::autograd::Function<GeluBehindBias> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& h,
                               const torch::Tensor& bias) {
    context->save_for_backward({h, bias});
    return gelu_forward(h, bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad) {
    const variable_list saved = context->get_saved_variables();
    const torch::Tensor &h = saved[0], &bias = saved[1];
    if (torch::GradMode::is_enabled())  // create_graph
      return differentiable_gradients(gelu_behind_bias_formula(h, bias), saved, grad[0]);
    const c10::cuda::CUDAGuard guard(h.device());
    const torch::Tensor d_y = dense(grad[0]), d_h = torch::empty_like(h);
    const torch::Tensor partial = floats(h, {channel_sum_rows(as_pixels(h)), h.size(2)});
    check_launch(
        launch_gelu_backward(as_pixels(h), h.const_data_ptr(), numbers(bias), d_y.const_data_ptr(),
                             d_h.mutable_data_ptr(), numbers_to_fill(partial), stream_of(h)),
        "gradient of gelu");
    return {d_h, column_sums(partial)};
  }
};

// (B, T, 3 C) -> three times (B, heads, T, C / heads), without a copy.
variable_list heads_of(const torch::Tensor& qkv, int64_t heads) {
  variable_list parts = qkv.chunk(3, 2);
  for (torch::Tensor& part : parts) part = part.unflatten(2, {heads, -1}).transpose(1, 2);
  return parts;
}

class SplitHeads : public torch::autograd::Function<SplitHeads> {
 public:
  static variable_list forward(AutogradContext* context, const torch::Tensor& qkv,
                               const torch::Tensor& /*bias*/, int64_t heads) {
    context->saved_data["sizes"] = qkv.sizes().vec();
    return heads_of(qkv.detach(), heads);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad) {
    const auto sizes = context->saved_data["sizes"].toIntVector();
    variable_list parts;  // (B, T, C)
    for (const torch::Tensor& part : grad) parts.push_back(part.transpose(1, 2).flatten(2));
    if (torch::GradMode::is_enabled()) {  // create_graph
      const torch::Tensor whole = at::cat(parts, 2);
      return {whole, whole.to(torch::kFloat32).flatten(0, 1).sum(0), {}};
    }
    for (torch::Tensor& part : parts) part = dense(part);
    const c10::cuda::CUDAGuard guard(parts[0].device());
    const ImageShape shape = as_pixels(parts[0]);
    const torch::Tensor whole = torch::empty(sizes, parts[0].options());
    const torch::Tensor partial = floats(whole, {channel_sum_rows(shape), sizes[2]});
    const Triple triple{
        {parts[0].const_data_ptr(), parts[1].const_data_ptr(), parts[2].const_data_ptr()}};
    check_launch(launch_join(shape, triple, whole.mutable_data_ptr(), numbers_to_fill(partial),
                             stream_of(whole)),
                 "gradients of attention side by side");
    return {whole, column_sums(partial), {}};
  }
};

}  // namespace

bool has_token_route(const torch::Tensor& x) {
  return x.is_cuda() && x.dim() == 3 && x.numel() > 0 && is_element(x.scalar_type()) &&
         device_runs_kernels(x.device().index()) && tokens_fit(shape_of(x));
}

NormedTokens modulated_norm(const torch::Tensor& x, const torch::Tensor& shift,
                            const torch::Tensor& scale, double eps) {
  const torch::Tensor in = dense(x), down = as_rows(shift, x), by = as_rows(scale, x);
  if (!is_followed({in, down, by})) return {norm_forward(in, down, by, eps).y, in};
  const variable_list out = ModulatedNorm::apply(in, down, by, eps);
  return {out[0], out[1]};
}

torch::Tensor gated_sum(const torch::Tensor& residual, const torch::Tensor& gate,
                        const torch::Tensor& h, const torch::Tensor& bias) {
  const torch::Tensor beside = dense(residual.to(h.scalar_type())), rows = as_rows(gate, h);
  const torch::Tensor in = dense(h), added = bias.to(torch::kFloat32).contiguous();
  if (!is_followed({beside, rows, in, added})) return gate_forward(beside, rows, in, added);
  return GatedSum::apply(beside, rows, in, added);
}

torch::Tensor gelu_behind_bias(const torch::Tensor& h, const torch::Tensor& bias) {
  const torch::Tensor in = dense(h), added = bias.to(torch::kFloat32).contiguous();
  if (!is_followed({in, added})) return gelu_forward(in, added);
  return GeluBehindBias::apply(in, added);
}

std::array<torch::Tensor, 3> split_heads(const torch::Tensor& qkv, const torch::Tensor& bias,
                                         int64_t heads) {
  const variable_list parts =
      is_followed({qkv, bias}) ? SplitHeads::apply(qkv, bias, heads) : heads_of(qkv, heads);
  return {parts[0], parts[1], parts[2]};
}

}  // namespace scorenet::models::kernels
