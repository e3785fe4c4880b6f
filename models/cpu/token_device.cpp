#include "models/cpu/token_device.hpp"

#include <ATen/Parallel.h>

#include "models/cpu/instruction_sets.hpp"
#include "models/cpu/row_passes.hpp"
#include "models/cpu/token_kernels.hpp"

namespace scorenet::models::cpu {
namespace {

using kernels::ImageRows;

TokenShape shape_of(const torch::Tensor& x) {
  return {
      x.size(0), x.size(1), x.size(2),
      x.scalar_type() == torch::kBFloat16 ? kernels::Element::bfloat16 : kernels::Element::float32};
}

ImageRows rows_of(const torch::Tensor& t) { return {t.const_data_ptr(), t.stride(0)}; }
const float* numbers(const torch::Tensor& t) { return t.const_data_ptr<float>(); }
float* numbers_to_fill(const torch::Tensor& t) { return t.mutable_data_ptr<float>(); }
torch::Tensor floats(c10::IntArrayRef shape) { return torch::empty(shape, torch::kFloat32); }

// kernel(shape, data, part) for all parts, on ATen's threads.
template <class Kernel, class Data>
void run(const Kernel& kernel, const TokenShape& shape, const Data& data) {
  const int64_t parts = parts_of(shape);
  at::parallel_for(0, shape.batch * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) kernel(shape, data, TokenPart{i / parts, i % parts});
  });
}

// (R, C) or more -> the sum over dimension 0.
torch::Tensor summed(const torch::Tensor& table) {
  const torch::Tensor out = floats(table.sizes().slice(1));
  sum_rows(numbers(table), table.size(0), out.numel(), numbers_to_fill(out));
  return out;
}

class CpuTokens final : public kernels::TokenDevice {
 public:
  bool takes(const torch::Tensor& x) const override {
    return has_fast_target() &&
           (x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kBFloat16);
  }

  Normed norm(const torch::Tensor& x, const torch::Tensor& shift, const torch::Tensor& scale,
              double eps) const override {
    const Normed out{torch::empty_like(x), floats({x.size(0) * x.size(1), 2})};
    const TokenNorm data{x.const_data_ptr(),       rows_of(shift),
                         rows_of(scale),           static_cast<float>(eps),
                         out.y.mutable_data_ptr(), numbers_to_fill(out.statistics)};
    run(token_norm, shape_of(x), data);
    return out;
  }

  ImageGradient norm_gradient(const torch::Tensor& x, const torch::Tensor& scale,
                              const torch::Tensor& statistics, const torch::Tensor& d_y,
                              const torch::Tensor& d_beside) const override {
    const torch::Tensor d_x = torch::empty_like(x), sums = parts_for(x, 2);
    const TokenNormBackward data{x.const_data_ptr(),
                                 rows_of(scale),
                                 numbers(statistics),
                                 d_y.const_data_ptr(),
                                 d_beside.defined() ? d_beside.const_data_ptr() : nullptr,
                                 d_x.mutable_data_ptr(),
                                 numbers_to_fill(sums)};
    run(token_norm_backward, shape_of(x), data);
    return {d_x, over_parts(sums)};
  }

  torch::Tensor gate(const torch::Tensor& residual, const torch::Tensor& gate,
                     const torch::Tensor& h, const torch::Tensor& bias) const override {
    const torch::Tensor y = torch::empty_like(h);
    const TokenGate data{residual.const_data_ptr(), rows_of(gate), h.const_data_ptr(),
                         numbers(bias), y.mutable_data_ptr()};
    run(token_gate, shape_of(h), data);
    return y;
  }

  ImageGradient gate_gradient(const torch::Tensor& gate, const torch::Tensor& h,
                              const torch::Tensor& bias, const torch::Tensor& d_y) const override {
    const torch::Tensor d_h = torch::empty_like(h), sums = parts_for(h, 2);
    const TokenGateBackward data{rows_of(gate),          h.const_data_ptr(),
                                 numbers(bias),          d_y.const_data_ptr(),
                                 d_h.mutable_data_ptr(), numbers_to_fill(sums)};
    run(token_gate_backward, shape_of(h), data);
    return {d_h, over_parts(sums)};
  }

  torch::Tensor gelu(const torch::Tensor& h, const torch::Tensor& bias) const override {
    const torch::Tensor y = torch::empty_like(h);
    run(token_gelu, shape_of(h),
        TokenGelu{h.const_data_ptr(), numbers(bias), y.mutable_data_ptr()});
    return y;
  }

  BiasGradient gelu_gradient(const torch::Tensor& h, const torch::Tensor& bias,
                             const torch::Tensor& d_y) const override {
    const torch::Tensor d_h = torch::empty_like(h), sums = parts_for(h, 1);
    const TokenGeluBackward data{h.const_data_ptr(), numbers(bias), d_y.const_data_ptr(),
                                 d_h.mutable_data_ptr(), numbers_to_fill(sums)};
    run(token_gelu_backward, shape_of(h), data);
    return {d_h, summed(sums.flatten(0, 2))};
  }

  BiasGradient join(const std::array<torch::Tensor, 3>& given) const override {
    const int64_t batch = given[0].size(0), heads = given[0].size(1), tokens = given[0].size(2);
    const torch::Tensor out =
        torch::empty({batch, tokens, 3 * heads * given[0].size(3)}, given[0].options());
    TokenShape shape = shape_of(out);
    shape.channels /= 3;
    const torch::Tensor sums = parts_for(out, 1);
    TokenJoin data;
    data.heads = heads;
    data.out = out.mutable_data_ptr();
    data.sums = numbers_to_fill(sums);
    std::array<torch::Tensor, 3> parts;
    for (size_t i = 0; i < 3; ++i) {
      parts[i] = given[i].stride(3) == 1 ? given[i] : given[i].contiguous();
      data.parts[i] = parts[i].const_data_ptr();
      data.image[i] = parts[i].stride(0);
      data.head[i] = parts[i].stride(1);
      data.token[i] = parts[i].stride(2);
    }
    run(token_join, shape, data);
    return {out, summed(sums.flatten(0, 2))};
  }

  torch::Tensor sum_rows(const torch::Tensor& table) const override { return summed(table); }

 private:
  // For `count` sums over the parts of each image.
  static torch::Tensor parts_for(const torch::Tensor& x, int64_t count) {
    return floats({x.size(0), parts_of(shape_of(x)), count, x.size(2)});
  }
  // The parts of each image, added up: (B, ...).
  static torch::Tensor over_parts(const torch::Tensor& sums) {
    if (sums.size(1) == 1) return sums.squeeze(1);
    const torch::Tensor out = floats({sums.size(0), sums.size(2), sums.size(3)});
    for (int64_t n = 0; n < sums.size(0); ++n) {
      cpu::sum_rows(numbers(sums) + n * sums.stride(0), sums.size(1), sums.stride(1),
                    numbers_to_fill(out) + n * out.stride(0));
    }
    return out;
  }
};

}  // namespace

const kernels::TokenDevice& cpu_tokens() {
  static const CpuTokens tokens;
  return tokens;
}

}  // namespace scorenet::models::cpu
