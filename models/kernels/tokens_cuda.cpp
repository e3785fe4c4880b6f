#include <c10/cuda/CUDAGuard.h>

#include "models/kernels/cuda_calls.hpp"
#include "models/kernels/token_device.hpp"
#include "models/kernels/token_kernels.hpp"

namespace scorenet::models::kernels {
namespace {

TokenShape shape_of(const torch::Tensor& x) {
  return {x.size(0), x.size(1), x.size(2), element_of(x)};
}

// Every token is a pixel of one image.
ImageShape as_pixels(const torch::Tensor& h) {
  return {1, h.size(0) * h.size(1), h.size(2), element_of(h)};
}

ImageRows rows_of(const torch::Tensor& t) { return {t.const_data_ptr(), t.stride(0)}; }

// For two sums over the parts of each image.
torch::Tensor parts_for(const torch::Tensor& x) {
  return floats(x, {x.size(0), token_parts(shape_of(x)), 2, x.size(2)});
}
// The parts of each image, added up: (B, ...).
torch::Tensor over_parts(const torch::Tensor& sums) {
  return sums.size(1) == 1 ? sums.squeeze(1) : sums.sum(1);
}

// (B, heads, T, C / heads) -> (B, T, C), where a pack of 16 bytes may begin.
torch::Tensor heads_joined(const torch::Tensor& part) {
  const torch::Tensor there = part.transpose(1, 2).flatten(2).contiguous();
  return reinterpret_cast<uintptr_t>(there.const_data_ptr()) % 16 == 0 ? there : there.clone();
}

class GpuTokens final : public TokenDevice {
 public:
  bool takes(const torch::Tensor& x) const override {
    return is_element(x.scalar_type()) && device_runs_kernels(x.device().index()) &&
           tokens_fit(shape_of(x));
  }

  Normed norm(const torch::Tensor& x, const torch::Tensor& shift, const torch::Tensor& scale,
              double eps) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    const Normed out{torch::empty_like(x), floats(x, {x.size(0) * x.size(1), 2})};
    const TokenNorm data{x.const_data_ptr(),       rows_of(shift),
                         rows_of(scale),           static_cast<float>(eps),
                         out.y.mutable_data_ptr(), numbers_to_fill(out.statistics)};
    check_launch(launch_token_norm(shape_of(x), data, stream_of(x)), "norm of tokens");
    return out;
  }

  ImageGradient norm_gradient(const torch::Tensor& x, const torch::Tensor& scale,
                              const torch::Tensor& statistics, const torch::Tensor& d_y,
                              const torch::Tensor& d_beside) const override {
    const c10::cuda::CUDAGuard guard(x.device());
    const torch::Tensor d_x = torch::empty_like(x), sums = parts_for(x);
    const TokenNormBackward data{x.const_data_ptr(),
                                 rows_of(scale),
                                 numbers(statistics),
                                 d_y.const_data_ptr(),
                                 d_beside.defined() ? d_beside.const_data_ptr() : nullptr,
                                 d_x.mutable_data_ptr(),
                                 numbers_to_fill(sums)};
    check_launch(launch_token_norm_backward(shape_of(x), data, stream_of(x)),
                 "gradient of the norm of tokens");
    return {d_x, over_parts(sums)};
  }

  torch::Tensor gate(const torch::Tensor& residual, const torch::Tensor& gate,
                     const torch::Tensor& h, const torch::Tensor& bias) const override {
    const c10::cuda::CUDAGuard guard(h.device());
    const torch::Tensor y = torch::empty_like(h);
    const TokenGate data{residual.const_data_ptr(), rows_of(gate), h.const_data_ptr(),
                         numbers(bias), y.mutable_data_ptr()};
    check_launch(launch_token_gate(shape_of(h), data, stream_of(h)), "gated sum");
    return y;
  }

  ImageGradient gate_gradient(const torch::Tensor& gate, const torch::Tensor& h,
                              const torch::Tensor& bias, const torch::Tensor& d_y) const override {
    const c10::cuda::CUDAGuard guard(h.device());
    const torch::Tensor d_h = torch::empty_like(h), sums = parts_for(h);
    const TokenGateBackward data{rows_of(gate),          h.const_data_ptr(),
                                 numbers(bias),          d_y.const_data_ptr(),
                                 d_h.mutable_data_ptr(), numbers_to_fill(sums)};
    check_launch(launch_token_gate_backward(shape_of(h), data, stream_of(h)),
                 "gradient of a gated sum");
    return {d_h, over_parts(sums)};
  }

  torch::Tensor gelu(const torch::Tensor& h, const torch::Tensor& bias) const override {
    const c10::cuda::CUDAGuard guard(h.device());
    const torch::Tensor y = torch::empty_like(h);
    check_launch(launch_gelu(as_pixels(h), h.const_data_ptr(), numbers(bias), y.mutable_data_ptr(),
                             stream_of(h)),
                 "gelu");
    return y;
  }

  BiasGradient gelu_gradient(const torch::Tensor& h, const torch::Tensor& bias,
                             const torch::Tensor& d_y) const override {
    const c10::cuda::CUDAGuard guard(h.device());
    const torch::Tensor d_h = torch::empty_like(h);
    const torch::Tensor partial = floats(h, {channel_sum_rows(as_pixels(h)), h.size(2)});
    check_launch(
        launch_gelu_backward(as_pixels(h), h.const_data_ptr(), numbers(bias), d_y.const_data_ptr(),
                             d_h.mutable_data_ptr(), numbers_to_fill(partial), stream_of(h)),
        "gradient of gelu");
    return {d_h, column_sums(partial)};
  }

  BiasGradient join(const std::array<torch::Tensor, 3>& of_heads) const override {
    std::array<torch::Tensor, 3> parts;  // (B, T, C)
    for (size_t i = 0; i < 3; ++i) parts[i] = heads_joined(of_heads[i]);
    const c10::cuda::CUDAGuard guard(parts[0].device());
    const ImageShape shape = as_pixels(parts[0]);
    const int64_t width = 3 * shape.channels;
    const torch::Tensor whole =
        torch::empty({parts[0].size(0), parts[0].size(1), width}, parts[0].options());
    const torch::Tensor partial = floats(whole, {channel_sum_rows(shape), width});
    const Triple triple{
        {parts[0].const_data_ptr(), parts[1].const_data_ptr(), parts[2].const_data_ptr()}};
    check_launch(launch_join(shape, triple, whole.mutable_data_ptr(), numbers_to_fill(partial),
                             stream_of(whole)),
                 "gradients of attention side by side");
    return {whole, column_sums(partial)};
  }

  torch::Tensor sum_rows(const torch::Tensor& table) const override { return column_sums(table); }
};

}  // namespace

const TokenDevice* gpu_tokens() {
  static const GpuTokens tokens;
  return &tokens;
}

}  // namespace scorenet::models::kernels
