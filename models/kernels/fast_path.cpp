#include "models/kernels/fast_path.hpp"

#include <torch/csrc/autograd/custom_function.h>

#include "framework/core/error.hpp"
#include "models/instruction_limit.hpp"
#include "models/kernels/convolution.hpp"
#include "models/kernels/fused_norm.hpp"

namespace scorenet::models::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// These nodes compute on raw memory: a second derivative through them would silently be zero.
void refuse_second_derivatives() {
  if (!at::GradMode::is_enabled()) return;
  throw ConfigError(
      "a second derivative through the CPU fast path: it has none. Set model.kernels = \"aten\".");
}

// Fixed places in the list of tensors that a residual node is given.
enum Place {
  kX,
  kSkip,
  kTime,
  kNorm1W,
  kNorm1B,
  kConv1W,
  kConv1B,
  kNorm2W,
  kNorm2B,
  kConv2W,
  kConv2B,
  kShortW,
  kShortB,
  kPlaces
};
// And of those it saves behind them.
enum Saved { kA1 = kPlaces, kStatistics1, kH, kA2, kStatistics2 };

std::vector<torch::Tensor> sources_of(const variable_list& t) {
  return t[kSkip].defined() ? variable_list{t[kX], t[kSkip]} : variable_list{t[kX]};
}

// The part of the 1x1 kernel that reads each source.
std::vector<torch::Tensor> shortcut_kernels(const variable_list& t) {
  std::vector<torch::Tensor> kernels;
  int64_t first = 0;
  for (const auto& source : sources_of(t)) {
    kernels.push_back(t[kShortW].narrow(1, first, source.size(3)));
    first += source.size(3);
  }
  return kernels;
}

torch::Tensor second_convolution(const variable_list& t, const torch::Tensor& a2) {
  const torch::Dtype dtype = a2.scalar_type();
  const torch::Tensor packed = pack_kernel(t[kConv2W], dtype);
  const int64_t out = t[kConv2W].size(0);
  if (!t[kShortW].defined()) return convolve(a2, packed, out, {}, {t[kConv2B], {}, t[kX]});
  std::vector<Shortcut> shortcuts;
  const auto sources = sources_of(t);
  const auto kernels = shortcut_kernels(t);
  for (size_t i = 0; i < sources.size(); ++i) {
    shortcuts.push_back({sources[i], pack_kernel(kernels[i], dtype)});
  }
  return convolve(a2, packed, out, shortcuts, {t[kConv2B] + t[kShortB], {}, {}});
}

class Residual : public torch::autograd::Function<Residual> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, at::TensorList in, int64_t groups,
                               double eps) {
    variable_list t(in.begin(), in.end());
    for (torch::Tensor& tensor : t) {
      if (tensor.numel() == 0) tensor.reset();
    }
    const torch::Dtype dtype = t[kX].scalar_type();
    const auto first = norm_forward(sources_of(t), {t[kNorm1W], t[kNorm1B], groups, eps});
    const torch::Tensor h = convolve(first.out, pack_kernel(t[kConv1W], dtype), t[kConv1W].size(0),
                                     {}, {t[kConv1B], t[kTime], {}});
    const auto second = norm_forward({h}, {t[kNorm2W], t[kNorm2B], groups, eps});
    const torch::Tensor out = second_convolution(t, second.out);
    t.insert(t.end(), {first.out, first.statistics, h, second.out, second.statistics});
    ctx->save_for_backward(std::move(t));
    ctx->saved_data["groups"] = groups;
    ctx->saved_data["eps"] = eps;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    refuse_second_derivatives();
    const variable_list t = ctx->get_saved_variables();
    const int64_t groups = ctx->saved_data["groups"].toInt();
    const double eps = ctx->saved_data["eps"].toDouble();
    const torch::Tensor d_out = gradients[0].contiguous();
    const torch::Dtype dtype = d_out.scalar_type();
    variable_list d(kPlaces + 2);  // two more for groups and eps

    d[kConv2B] = bias_gradient(d_out);
    d[kConv2W] = kernel_gradient(t[kA2], d_out, 3);
    const torch::Tensor d_a2 =
        convolve(d_out, pack_transposed_kernel(t[kConv2W], dtype), t[kConv2W].size(1), {}, {});
    auto second =
        norm_backward({t[kH]}, {t[kNorm2W], t[kNorm2B], groups, eps}, t[kStatistics2], d_a2, {});
    d[kNorm2W] = second.weight;
    d[kNorm2B] = second.bias;
    const torch::Tensor& d_h = second.sources[0];
    d[kTime] = second.channel_sums;
    d[kConv1B] = second.channel_sums.sum(0);
    d[kConv1W] = kernel_gradient(t[kA1], d_h, 3);
    const torch::Tensor d_a1 =
        convolve(d_h, pack_transposed_kernel(t[kConv1W], dtype), t[kConv1W].size(1), {}, {});
    auto first = norm_backward(sources_of(t), {t[kNorm1W], t[kNorm1B], groups, eps},
                               t[kStatistics1], d_a1, residuals(t, d_out, d));
    d[kNorm1W] = first.weight;
    d[kNorm1B] = first.bias;
    d[kX] = first.sources[0];
    if (t[kSkip].defined()) d[kSkip] = first.sources[1];
    return d;
  }

 private:
  // What the shortcut contributes to each source's gradient; sets the shortcut's own gradients.
  static std::vector<torch::Tensor> residuals(const variable_list& t, const torch::Tensor& d_out,
                                              variable_list& d) {
    if (!t[kShortW].defined()) return {d_out};
    std::vector<torch::Tensor> parts, kernel_gradients;
    const auto sources = sources_of(t);
    const auto kernels = shortcut_kernels(t);
    for (size_t i = 0; i < sources.size(); ++i) {
      parts.push_back(convolve_1x1(d_out, pack_transposed_kernel(kernels[i], d_out.scalar_type()),
                                   sources[i].size(3)));
      kernel_gradients.push_back(kernel_gradient(sources[i], d_out, 1));
    }
    d[kShortW] = torch::cat(kernel_gradients, 1);
    d[kShortB] = d[kConv2B];
    return parts;
  }
};

class Norm : public torch::autograd::Function<Norm> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x,
                               const torch::Tensor& weight, const torch::Tensor& bias,
                               int64_t groups, double eps, bool silu) {
    const auto result = norm_forward({x}, {weight, bias, groups, eps, silu});
    ctx->save_for_backward({x, weight, bias, result.statistics});
    ctx->saved_data["groups"] = groups;
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["silu"] = silu;
    return result.out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    refuse_second_derivatives();
    const auto t = ctx->get_saved_variables();
    const NormParameters norm{t[1], t[2], ctx->saved_data["groups"].toInt(),
                              ctx->saved_data["eps"].toDouble(), ctx->saved_data["silu"].toBool()};
    const auto d = norm_backward({t[0]}, norm, t[3], gradients[0].contiguous(), {});
    return {d.sources[0], d.weight, d.bias, {}, {}, {}};
  }
};

class UpsampleConvolution : public torch::autograd::Function<UpsampleConvolution> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x,
                               const torch::Tensor& weight, const torch::Tensor& bias) {
    ctx->save_for_backward({x, weight});
    return upsample_convolve(x, weight, bias);
  }
  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    refuse_second_derivatives();
    const auto t = ctx->get_saved_variables();
    const torch::Tensor d_out = gradients[0].contiguous();
    return {upsample_convolve_input_gradient(d_out, t[1]),
            upsample_convolve_kernel_gradient(t[0], d_out), bias_gradient(d_out)};
  }
};

class ClearBorderOfGradient : public torch::autograd::Function<ClearBorderOfGradient> {
 public:
  static torch::Tensor forward(AutogradContext*, const torch::Tensor& x) { return x.view_as(x); }
  static variable_list backward(AutogradContext*, variable_list gradients) {
    refuse_second_derivatives();
    const torch::Tensor own = gradients[0].contiguous().clone();
    zero_border(own);
    return {own};
  }
};

}  // namespace

bool fast_path_available(torch::Dtype dtype) {
#ifdef SCORENET_AVX512
  const InstructionLimit& limit = instruction_limit();
  const bool vectors = limit.avx512 && __builtin_cpu_supports("avx512f") &&
                       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                       __builtin_cpu_supports("avx512vl");
  if (dtype == torch::kFloat32) return vectors;
  return vectors && limit.bf16 && dtype == torch::kBFloat16 && __builtin_cpu_supports("avx512bf16");
#else
  static_cast<void>(dtype);
  return false;
#endif
}

torch::Tensor residual_block(const torch::Tensor& x, const torch::Tensor& skip,
                             const torch::Tensor& time, const ResidualWeights& w, int64_t groups,
                             double eps) {
  variable_list in{x,
                   skip,
                   time,
                   w.norm1_weight,
                   w.norm1_bias,
                   w.conv1_weight,
                   w.conv1_bias,
                   w.norm2_weight,
                   w.norm2_bias,
                   w.conv2_weight,
                   w.conv2_bias,
                   w.shortcut_weight,
                   w.shortcut_bias};
  // An autograd node takes no undefined tensors: what is absent goes in empty.
  for (torch::Tensor& tensor : in) {
    if (!tensor.defined()) tensor = torch::empty({0});
  }
  return Residual::apply(at::TensorList(in), groups, eps);
}

torch::Tensor group_norm(const torch::Tensor& x, const torch::Tensor& weight,
                         const torch::Tensor& bias, int64_t groups, double eps, bool silu) {
  return Norm::apply(x, weight, bias, groups, eps, silu);
}

torch::Tensor upsample_block(const torch::Tensor& x, const torch::Tensor& weight,
                             const torch::Tensor& bias) {
  return UpsampleConvolution::apply(x, weight, bias);
}

torch::Tensor to_padded(const torch::Tensor& x) {
  return torch::constant_pad_nd(x.permute({0, 2, 3, 1}), {0, 0, 1, 1, 1, 1}).contiguous();
}

torch::Tensor inside(const torch::Tensor& padded) {
  const Area area = area_of(padded);
  return padded.narrow(1, 1, area.height).narrow(2, 1, area.width).permute({0, 3, 1, 2});
}

torch::Tensor with_border(const torch::Tensor& padded) {
  return ClearBorderOfGradient::apply(padded).permute({0, 3, 1, 2});
}

}  // namespace scorenet::models::kernels
