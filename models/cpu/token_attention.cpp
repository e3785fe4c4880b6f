#include "models/cpu/token_attention.hpp"

#include <ATen/Parallel.h>

#include "models/cpu/bf16_attention.hpp"
#include "models/cpu/instruction_sets.hpp"
#include "models/cpu/token_device.hpp"

namespace scorenet::models::cpu {
namespace {

constexpr int64_t kMostTokens = 1024;  // 4 MiB of weights a head and thread

Bf16* elements_of(const torch::Tensor& t) { return static_cast<Bf16*>(t.data_ptr()); }

// Where the heads of (B, T, C) and (B, T, 3 C) lie.
struct HeadPlaces {
  HeadPlaces(const torch::Tensor& qkv, int64_t heads_)
      : images(qkv.size(0)),
        tokens(qkv.size(1)),
        heads(heads_),
        channels(qkv.size(2) / 3),
        width(channels / heads) {}

  // The first number of a head of the queries, keys or values (part 0, 1 or 2) of an image.
  int64_t in_qkv(int64_t image, int64_t part, int64_t head) const {
    return image * tokens * 3 * channels + part * channels + head * width;
  }
  int64_t in_mixed(int64_t image, int64_t head) const {
    return image * tokens * channels + head * width;
  }

  int64_t images, tokens, heads, channels, width;
};

// f(matrices, image, head) for all heads, on ATen's threads.
template <class F>
void for_heads(const HeadPlaces& at, const F& f) {
  at::parallel_for(0, at.images * at.heads, 1, [&](int64_t begin, int64_t end) {
    Bf16HeadMatrices matrices({1, at.tokens}, at.width);
    for (int64_t i = begin; i < end; ++i) f(matrices, i / at.heads, i % at.heads);
  });
}

}  // namespace

bool mixes_heads(const torch::Tensor& qkv) {
  return qkv.is_cpu() && qkv.scalar_type() == torch::kBFloat16 && qkv.size(1) <= kMostTokens &&
         has_fast_target() && bf16_available();
}

torch::Tensor mix_heads(const torch::Tensor& qkv, const torch::Tensor& bias, int64_t heads) {
  const HeadPlaces at(qkv, heads);
  const torch::Tensor mixed = torch::empty({at.images, at.tokens, at.channels}, qkv.options());
  const float* const added = bias.const_data_ptr<float>();
  for_heads(at, [&](Bf16HeadMatrices& matrices, int64_t image, int64_t head) {
    const auto in = [&](int64_t part) {
      return Bf16Head{elements_of(qkv) + at.in_qkv(image, part, head), 3 * at.channels,
                      added + at.in_qkv(0, part, head)};
    };
    matrices.forward(in(0), in(1), in(2),
                     Bf16HeadTarget{elements_of(mixed) + at.in_mixed(image, head), at.channels});
  });
  return mixed;
}

kernels::TokenDevice::BiasGradient mix_heads_gradient(const torch::Tensor& qkv,
                                                      const torch::Tensor& bias,
                                                      const torch::Tensor& d_mixed, int64_t heads) {
  const HeadPlaces at(qkv, heads);
  const torch::Tensor d_qkv = torch::empty_like(qkv);
  const torch::Tensor sums = torch::empty({at.images, 3 * at.channels}, torch::kFloat32);
  const float* const added = bias.const_data_ptr<float>();
  float* const of_images = sums.mutable_data_ptr<float>();
  for_heads(at, [&](Bf16HeadMatrices& matrices, int64_t image, int64_t head) {
    const auto in = [&](int64_t part) {
      return Bf16Head{elements_of(qkv) + at.in_qkv(image, part, head), 3 * at.channels,
                      added + at.in_qkv(0, part, head)};
    };
    const auto out = [&](int64_t part) {
      return Bf16HeadTarget{elements_of(d_qkv) + at.in_qkv(image, part, head), 3 * at.channels,
                            of_images + image * 3 * at.channels + at.in_qkv(0, part, head)};
    };
    const Bf16Head d{elements_of(d_mixed) + at.in_mixed(image, head), at.channels};
    matrices.backward(in(0), in(1), in(2), d, out(0), out(1), out(2));
  });
  return {d_qkv, cpu_tokens().sum_rows(sums)};
}

}  // namespace scorenet::models::cpu
