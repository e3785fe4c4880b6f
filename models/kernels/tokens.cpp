#include "models/kernels/tokens.hpp"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "models/cpu/token_attention.hpp"
#include "models/cpu/token_device.hpp"
#include "models/kernels/followed.hpp"
#include "models/kernels/token_device.hpp"

namespace scorenet::models::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Null: there is none.
const TokenDevice* token_device(const torch::Tensor& x) {
  return x.is_cuda() ? gpu_tokens() : x.is_cpu() ? &cpu::cpu_tokens() : nullptr;
}

bool is_aligned(const torch::Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0;
}

// Dense, and where a GPU's pack of 16 bytes may begin.
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

// Arguments: x, shift, scale, eps. x is a second result.
class ModulatedNorm : public torch::autograd::Function<ModulatedNorm> {
 public:
  static variable_list forward(AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& shift, const torch::Tensor& scale, double eps) {
    const TokenDevice::Normed out = token_device(x)->norm(x, shift, scale, eps);
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
    const torch::Tensor &x = saved[0], &scale = saved[2], &statistics = saved[3];
    const auto [d_x, sums] = token_device(x)->norm_gradient(x, scale, statistics, d_y, d_beside);
    const torch::Tensor of_images = sums.to(x.scalar_type());
    return {d_x, of_images.select(1, 0), of_images.select(1, 1), {}};
  }
};

class GatedSum : public torch::autograd::Function<GatedSum> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& residual,
                               const torch::Tensor& gate, const torch::Tensor& h,
                               const torch::Tensor& bias) {
    context->save_for_backward({gate, h, bias});
    return token_device(h)->gate(residual, gate, h, bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad) {
    const variable_list saved = context->get_saved_variables();
    const torch::Tensor &gate = saved[0], &h = saved[1], &bias = saved[2];
    if (torch::GradMode::is_enabled()) {  // create_graph
      const torch::Tensor d_h = gate.unsqueeze(1) * grad[0];
      const torch::Tensor d_gate = (grad[0] * (h + bias.to(h.scalar_type()))).sum(1);
      return {grad[0], d_gate, d_h, d_h.to(torch::kFloat32).flatten(0, 1).sum(0)};
    }
    const torch::Tensor d_y = dense(grad[0]);
    const auto [d_h, sums] = token_device(h)->gate_gradient(gate, h, bias, d_y);
    return {d_y, sums.select(1, 0).to(gate.scalar_type()), d_h,
            token_device(h)->sum_rows((gate * sums.select(1, 1)).contiguous())};
  }
};

class GeluBehindBias : public torch::autograd::Function<GeluBehindBias> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& h,
                               const torch::Tensor& bias) {
    context->save_for_backward({h, bias});
    return token_device(h)->gelu(h, bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad) {
    const variable_list saved = context->get_saved_variables();
    const torch::Tensor &h = saved[0], &bias = saved[1];
    if (torch::GradMode::is_enabled())  // create_graph
      return differentiable_gradients(gelu_behind_bias_formula(h, bias), saved, grad[0]);
    const auto [d_h, d_bias] = token_device(h)->gelu_gradient(h, bias, dense(grad[0]));
    return {d_h, d_bias};
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
  static variable_list forward(AutogradContext* /*context*/, const torch::Tensor& qkv,
                               const torch::Tensor& /*bias*/, int64_t heads) {
    return heads_of(qkv.detach(), heads);
  }

  static variable_list backward(AutogradContext* /*context*/, const variable_list& grad) {
    if (torch::GradMode::is_enabled()) {  // create_graph
      variable_list parts;                // (B, T, C)
      for (const torch::Tensor& part : grad) parts.push_back(part.transpose(1, 2).flatten(2));
      const torch::Tensor whole = at::cat(parts, 2);
      return {whole, whole.to(torch::kFloat32).flatten(0, 1).sum(0), {}};
    }
    const auto [whole, d_bias] = token_device(grad[0])->join({grad[0], grad[1], grad[2]});
    return {whole, d_bias, {}};
  }
};

class MixedHeads : public torch::autograd::Function<MixedHeads> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& qkv,
                               const torch::Tensor& bias, int64_t heads) {
    context->save_for_backward({qkv, bias});
    context->saved_data["heads"] = heads;
    return cpu::mix_heads(qkv, bias, heads);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad) {
    const variable_list saved = context->get_saved_variables();
    const torch::Tensor &qkv = saved[0], &bias = saved[1];
    const int64_t heads = context->saved_data["heads"].toInt();
    if (torch::GradMode::is_enabled()) {  // create_graph
      variable_list all =
          differentiable_gradients(mix_heads_formula(qkv, bias, heads), saved, grad[0]);
      all.emplace_back();
      return all;
    }
    const auto [d_qkv, d_bias] = cpu::mix_heads_gradient(qkv, bias, dense(grad[0]), heads);
    return {d_qkv, d_bias, {}};
  }
};

}  // namespace

bool has_token_route(const torch::Tensor& x) {
  const TokenDevice* const device = token_device(x);
  return device != nullptr && x.dim() == 3 && x.numel() > 0 && device->takes(x);
}

NormedTokens modulated_norm(const torch::Tensor& x, const torch::Tensor& shift,
                            const torch::Tensor& scale, double eps) {
  const torch::Tensor in = dense(x), down = as_rows(shift, x), by = as_rows(scale, x);
  if (!is_followed({in, down, by})) return {token_device(in)->norm(in, down, by, eps).y, in};
  const variable_list out = ModulatedNorm::apply(in, down, by, eps);
  return {out[0], out[1]};
}

torch::Tensor gated_sum(const torch::Tensor& residual, const torch::Tensor& gate,
                        const torch::Tensor& h, const torch::Tensor& bias) {
  const torch::Tensor beside = dense(residual.to(h.scalar_type())), rows = as_rows(gate, h);
  const torch::Tensor in = dense(h), added = bias.to(torch::kFloat32).contiguous();
  if (!is_followed({beside, rows, in, added}))
    return token_device(in)->gate(beside, rows, in, added);
  return GatedSum::apply(beside, rows, in, added);
}

torch::Tensor gelu_behind_bias(const torch::Tensor& h, const torch::Tensor& bias) {
  const torch::Tensor in = dense(h), added = bias.to(torch::kFloat32).contiguous();
  if (!is_followed({in, added})) return token_device(in)->gelu(in, added);
  return GeluBehindBias::apply(in, added);
}

bool mixes_heads(const torch::Tensor& qkv) { return cpu::mixes_heads(qkv); }

torch::Tensor mix_heads(const torch::Tensor& qkv, const torch::Tensor& bias, int64_t heads) {
  const torch::Tensor in = dense(qkv), added = bias.to(torch::kFloat32).contiguous();
  if (!is_followed({in, added})) return cpu::mix_heads(in, added, heads);
  return MixedHeads::apply(in, added, heads);
}

std::array<torch::Tensor, 3> split_heads(const torch::Tensor& qkv, const torch::Tensor& bias,
                                         int64_t heads) {
  const variable_list parts =
      is_followed({qkv, bias}) ? SplitHeads::apply(qkv, bias, heads) : heads_of(qkv, heads);
  return {parts[0], parts[1], parts[2]};
}

}  // namespace scorenet::models::kernels
