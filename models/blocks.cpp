#include "models/blocks.hpp"

#include "framework/core/error.hpp"
#include "models/attention.hpp"
#include "models/kernels/channels_last.hpp"
#include "models/kernels/fast_path.hpp"

namespace scorenet::models {
namespace {

int64_t checked_heads(int64_t channels, int64_t head_dim) {
  if (head_dim == 0) return 1;
  if (head_dim > 0 && channels % head_dim == 0) return channels / head_dim;
  throw ConfigError("model.attention_head_dim = " + std::to_string(head_dim) +
                    ": must divide the " + std::to_string(channels) +
                    " channels of every level with attention (0: one head).");
}

DeviceSlots address_on(torch::Device device, const BatchSlots& slots, int64_t layer) {
  if (slots.device_slots.defined())
    return {slots.device_keys.narrow(0, layer, 1), slots.device_slots};
  const int64_t key = key_word(dropout_key(slots.key, layer));
  return {torch::full({1}, key, torch::dtype(torch::kInt64).device(device)),
          torch::tensor(slots.slots, torch::kInt64).to(device)};
}

torch::Tensor uniforms_of_layer(const BatchSlots& slots, int64_t layer, const torch::Tensor& x) {
  const auto shape = x.sizes().slice(1);
  if (slots.device_slots.defined())
    return uniform_for_slots(address_on(x.device(), slots, layer), shape, torch::kFloat32);
  return uniform_for_slots(dropout_key(slots.key, layer), slots.slots, shape, torch::kFloat32,
                           x.device());
}

}  // namespace

torch::nn::GroupNorm make_group_norm(const NormOptions& options, int64_t channels,
                                     const std::string& where) {
  if (options.groups < 1 || channels % options.groups != 0) {
    throw ConfigError("model.norm_groups = " + std::to_string(options.groups) +
                      ": must divide the " + std::to_string(channels) + " channels of " + where +
                      ". Choose a common divisor of model.channels.");
  }
  return torch::nn::GroupNorm(
      torch::nn::GroupNormOptions(options.groups, channels).eps(options.eps));
}

Convolution conv3(int64_t in, int64_t out, const Boundaries& boundaries) {
  return Convolution(ConvolutionOptions{.in = in, .out = out, .boundaries = boundaries});
}

torch::Tensor labels_or_none(const NetworkInput& input, int64_t num_classes) {
  if (!input.given.labels.defined()) {
    return torch::full({input.x.size(0)}, num_classes, input.x.options().dtype(torch::kInt64));
  }
  if (num_classes > 0) return input.given.labels;
  throw ConfigError("labels given to a network with model.num_classes = 0: set model.num_classes.");
}

RandomKey dropout_key(RandomKey key, int64_t layer) {
  // Weyl steps keep the layers' keys apart; the generator mixes them.
  key.seed += 0x9e3779b97f4a7c15ULL * (static_cast<uint64_t>(layer) + 1);
  return key;
}

torch::Tensor slot_dropout(const torch::Tensor& x, double probability, int64_t layer,
                           const BatchSlots* slots) {
  if (slots == nullptr || probability <= 0.0) return x;
  if (kernels::has_gpu_route(x))
    return kernels::drop_by_slots(x, address_on(x.device(), *slots, layer), probability);
  const torch::Tensor uniform = uniforms_of_layer(*slots, layer, x);
  return x * (uniform >= probability).to(x.scalar_type()).mul_(1.0 / (1.0 - probability));
}

ResidualBlockImpl::ResidualBlockImpl(const ResidualBlockOptions& o)
    : options_(o),
      norm1_(register_module("norm1", make_group_norm(o.norm, o.in_channels, "a block's input"))),
      conv1_(register_module("conv1", conv3(o.in_channels, o.out_channels, o.boundaries))),
      time_emb_proj_(register_module(
          "time_emb_proj",
          torch::nn::Linear(o.time_channels, o.scale_shift ? 2 * o.out_channels : o.out_channels))),
      norm2_(register_module("norm2", make_group_norm(o.norm, o.out_channels, "a block"))),
      conv2_(register_module("conv2", conv3(o.out_channels, o.out_channels, o.boundaries))) {
  if (o.in_channels != o.out_channels) {
    conv_shortcut_ = register_module("conv_shortcut",
                                     Convolution(ConvolutionOptions{.in = o.in_channels,
                                                                    .out = o.out_channels,
                                                                    .size = 1,
                                                                    .padding = 0,
                                                                    .boundaries = o.boundaries}));
  }
}

torch::Tensor ResidualBlockImpl::forward(const torch::Tensor& x,
                                         const torch::Tensor& activated_time,
                                         const BatchSlots* dropout, const torch::Tensor& residual) {
  torch::Tensor h = conv1_(resampled(torch::silu(norm1_(x))));
  h = torch::silu(norm_with_time(h, time_emb_proj_(activated_time)));
  h = conv2_(slot_dropout(h, options_.dropout, options_.dropout_layer, dropout));
  const torch::Tensor kept = resampled(residual.defined() ? residual : x);
  return (conv_shortcut_ ? conv_shortcut_(kept) : kept) + h;
}

torch::Tensor ResidualBlockImpl::resampled(const torch::Tensor& x) const {
  if (options_.resampling == Resampling::none) return x;
  return options_.resampling == Resampling::half ? halved(x) : doubled(x);
}

torch::Tensor ResidualBlockImpl::norm_with_time(const torch::Tensor& h, const torch::Tensor& time) {
  if (!options_.scale_shift) return norm2_(h + as_shift(time, h.dim()));
  const auto parts = time.chunk(2, /*dim=*/1);
  return norm2_(h) * (1 + as_shift(parts[0], h.dim())) + as_shift(parts[1], h.dim());
}

torch::Tensor ResidualBlockImpl::forward_padded(const torch::Tensor& x, const torch::Tensor& skip,
                                                const torch::Tensor& activated_time) {
  const torch::Tensor time = time_emb_proj_(activated_time).to(torch::kFloat32);
  kernels::ResidualWeights weights{
      norm1_->weight, norm1_->bias,   conv1_->weight, conv1_->bias, norm2_->weight,
      norm2_->bias,   conv2_->weight, conv2_->bias,   {},           {}};
  if (conv_shortcut_) {
    weights.shortcut_weight = conv_shortcut_->weight;
    weights.shortcut_bias = conv_shortcut_->bias;
  }
  return kernels::residual_block(x, skip, time, weights, options_.norm.groups, options_.norm.eps);
}

AttentionBlockImpl::AttentionBlockImpl(int64_t channels, int64_t head_dim, const NormOptions& norm)
    : heads_(checked_heads(channels, head_dim)),
      group_norm_(norm.groups == 0 ? torch::nn::GroupNorm(nullptr)
                                   : register_module("group_norm",
                                                     make_group_norm(norm, channels, "attention"))),
      to_q_(register_module("to_q", torch::nn::Linear(channels, channels))),
      to_k_(register_module("to_k", torch::nn::Linear(channels, channels))),
      to_v_(register_module("to_v", torch::nn::Linear(channels, channels))),
      to_out_(register_module("to_out", torch::nn::ModuleList())) {
  to_out_->push_back(torch::nn::Linear(channels, channels));
}

torch::Tensor AttentionBlockImpl::mix(const torch::Tensor& h) {
  return attend_and_join(to_q_(h), to_k_(h), to_v_(h));
}

torch::Tensor AttentionBlockImpl::attend_and_join(const torch::Tensor& q, const torch::Tensor& k,
                                                  const torch::Tensor& v) {
  const int64_t batch = q.size(0), tokens = q.size(1), channels = q.size(2);
  const auto split = [&](const torch::Tensor& y) {
    return y.view({batch, tokens, heads_, channels / heads_}).transpose(1, 2);
  };
  const torch::Tensor mixed = attend(split(q), split(k), split(v));
  const torch::Tensor joined = mixed.transpose(1, 2).reshape({batch, tokens, channels});
  return to_out_[0]->as<torch::nn::Linear>()->forward(joined);
}

torch::Tensor AttentionBlockImpl::forward(const torch::Tensor& x) {
  const torch::Tensor pixels = x.flatten(2);
  const torch::Tensor h = (group_norm_ ? group_norm_(pixels) : pixels).transpose(1, 2);
  return x + mix(h).transpose(1, 2).reshape(x.sizes());
}

torch::Tensor AttentionBlockImpl::forward_padded(const torch::Tensor& x) {
  const auto& norm = group_norm_->options;
  const torch::Tensor normed =
      kernels::group_norm(x, group_norm_->weight, group_norm_->bias, norm.num_groups(), norm.eps(),
                          /*silu=*/false);
  const torch::Tensor pixels = kernels::inside(normed).permute({0, 2, 3, 1});  // (B, H, W, C)
  const torch::Tensor mixed = mix(pixels.flatten(1, 2)).view(pixels.sizes());
  return x + torch::constant_pad_nd(mixed, {0, 0, 1, 1, 1, 1});
}

DownsampleImpl::DownsampleImpl(int64_t channels, int64_t padding, const Boundaries& boundaries)
    : padding_(padding),
      boundaries_(boundaries),
      conv_(register_module("conv", Convolution(ConvolutionOptions{.in = channels,
                                                                   .out = channels,
                                                                   .stride = 2,
                                                                   .padding = padding,
                                                                   .boundaries = boundaries}))) {}

torch::Tensor DownsampleImpl::forward(const torch::Tensor& x) {
  return conv_(padding_ == 0 ? extended(x, boundaries_, 0, 1) : x);
}

torch::Tensor DownsampleImpl::forward_padded(const torch::Tensor& x) {
  // The border is the padding: pixel (-1, -1) for padding 1; for padding 0 the first read is
  // pixel (0, 0).
  torch::Tensor in = kernels::with_border(x);
  if (padding_ == 0) in = in.narrow(2, 1, in.size(2) - 1).narrow(3, 1, in.size(3) - 1);
  return kernels::to_padded(torch::conv2d(in, conv_->weight, conv_->bias, 2));
}

UpsampleImpl::UpsampleImpl(int64_t channels, const Boundaries& boundaries)
    : conv_(register_module("conv", conv3(channels, channels, boundaries))) {}

torch::Tensor UpsampleImpl::forward(const torch::Tensor& x) { return conv_(doubled(x)); }

torch::Tensor UpsampleImpl::forward_padded(const torch::Tensor& x) {
  return kernels::upsample_block(x, conv_->weight, conv_->bias);
}

}  // namespace scorenet::models
