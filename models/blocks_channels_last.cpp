// The U-Net's blocks on a GPU: the same mathematics as blocks.cpp on channels-last tensors.
//
// Activations have autocast's dtype from the first convolution to the last. A kernel is brought to
// that dtype and to channels-last by one copy a step, so that cuDNN has nothing to convert, forward
// or backward. In a residual block no bias has a pass of its own: one joins the time embedding in
// front of a norm, the others the residual behind the block.
#include "models/attention.hpp"
#include "models/autocast.hpp"
#include "models/blocks.hpp"
#include "models/kernels/channels_last.hpp"

namespace scorenet::models {
namespace {

// Without the bias.
torch::Tensor convolve(const torch::Tensor& x, const ConvolutionImpl& conv, int64_t stride,
                       int64_t padding) {
  const torch::Tensor kernel = conv.weight.to(x.scalar_type(), /*non_blocking=*/false,
                                              /*copy=*/false, torch::MemoryFormat::ChannelsLast);
  return at::conv2d(x, kernel, {}, c10::IntArrayRef{stride, stride},
                    c10::IntArrayRef{padding, padding});
}

kernels::NormSettings settings(const torch::nn::GroupNorm& norm, bool silu) {
  return {norm->options.num_groups(), norm->options.eps(), silu};
}

}  // namespace

torch::Tensor conv3x3_channels_last(const torch::Tensor& x, const ConvolutionImpl& conv) {
  const torch::Tensor in = x.to(active_compute_dtype(x.device().type()), /*non_blocking=*/false,
                                /*copy=*/false, torch::MemoryFormat::ChannelsLast);
  return kernels::add_bias_and_residual(convolve(in, conv, 1, 1), conv.bias, {});
}

std::vector<torch::Tensor> shifts_of(const std::vector<std::shared_ptr<ResidualBlockImpl>>& blocks,
                                     const torch::Tensor& activated_time) {
  std::vector<torch::Tensor> weights, time_biases, conv_biases;
  std::vector<int64_t> widths;
  for (const auto& block : blocks) {
    weights.push_back(block->time_emb_proj_->weight);
    time_biases.push_back(block->time_emb_proj_->bias);
    conv_biases.push_back(block->conv1_->bias);
    widths.push_back(block->options_.out_channels);
  }
  const torch::Tensor bias = at::cat(time_biases) + at::cat(conv_biases);
  const torch::Tensor projected = at::linear(activated_time, at::cat(weights)).to(torch::kFloat32);
  return (projected + bias).split_with_sizes(widths, /*dim=*/1);
}

torch::Tensor ResidualBlockImpl::forward_channels_last(const torch::Tensor& x,
                                                       const torch::Tensor& shift,
                                                       const BatchSlots* dropout) {
  const auto [normed, input] = kernels::channels_last_norm_keeping(x, norm1_->weight, norm1_->bias,
                                                                   settings(norm1_, /*silu=*/true));
  torch::Tensor h = convolve(normed, *conv1_, 1, 1);
  h = kernels::channels_last_norm(h, shift, norm2_->weight, norm2_->bias,
                                  settings(norm2_, /*silu=*/true));
  h = slot_dropout(h, options_.dropout, options_.dropout_layer, dropout);
  h = convolve(h, *conv2_, 1, 1);
  if (!conv_shortcut_) return kernels::add_bias_and_residual(h, conv2_->bias, input);
  return kernels::add_bias_and_residual(h, conv2_->bias + conv_shortcut_->bias,
                                        convolve(input, *conv_shortcut_, 1, 0));
}

torch::Tensor AttentionBlockImpl::mix_by_one_product(const torch::Tensor& h) {
  const auto lowered = [&](const std::vector<torch::Tensor>& parts) {
    return at::cat(parts).to(h.scalar_type());
  };
  const torch::Tensor weight = lowered({to_q_->weight, to_k_->weight, to_v_->weight});
  const torch::Tensor bias = lowered({to_q_->bias, to_k_->bias, to_v_->bias});
  const auto parts = at::linear(h, weight, bias).chunk(3, /*dim=*/2);
  return attend_and_join(parts[0], parts[1], parts[2]);
}

torch::Tensor AttentionBlockImpl::forward_channels_last(const torch::Tensor& x) {
  const auto [normed, input] = kernels::channels_last_norm_keeping(
      x, group_norm_->weight, group_norm_->bias, settings(group_norm_, /*silu=*/false));
  const torch::Tensor pixels = normed.permute({0, 2, 3, 1});  // (B, H, W, C), dense
  const torch::Tensor mixed = mix_by_one_product(pixels.flatten(1, 2)).view(pixels.sizes());
  return input + mixed.permute({0, 3, 1, 2});
}

torch::Tensor DownsampleImpl::forward_channels_last(const torch::Tensor& x) {
  const torch::Tensor in = padding_ == 0 ? extended(x, boundaries_, 0, 1) : x;
  return kernels::add_bias_and_residual(convolve(in, *conv_, 2, padding_), conv_->bias, {});
}

torch::Tensor UpsampleImpl::forward_channels_last(const torch::Tensor& x) {
  torch::Tensor large;
  {
    // Autocast would take the pixels to float32 and back.
    const c10::impl::ExcludeDispatchKeyGuard as_it_is(c10::autocast_dispatch_keyset);
    large = doubled(x);
  }
  return conv3x3_channels_last(large, *conv_);
}

}  // namespace scorenet::models
