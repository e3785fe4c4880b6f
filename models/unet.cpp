#include "models/unet.hpp"

#include "models/autocast.hpp"
#include "models/kernels/channels_last.hpp"
#include "models/kernels/fast_path.hpp"

namespace scorenet::models {
namespace {

int64_t out_channels(const UNetOptions& options, int64_t image_channels) {
  return options.learned_variance ? 2 * image_channels : image_channels;
}

}  // namespace

UNetImpl::UNetImpl(const UNetOptions& options, int64_t image_channels, int64_t axes)
    : encoder_(*this, options, image_channels, boundaries_of(options.padding, axes)),
      executor_(options, encoder_.prepared_channels(), out_channels(options, image_channels)) {
  build_up(options);
  const int64_t first = options.channels.front();
  conv_norm_out_ =
      register_module("conv_norm_out", make_group_norm(encoder_.norm(), first, "the output layer"));
  conv_out_ = register_module(
      "conv_out", conv3(first, out_channels(options, image_channels), encoder_.boundaries()));
  encoder_.know_blocks(*this);
}

void UNetImpl::build_up(const UNetOptions& options) {
  const auto blocks = register_module("up_blocks", torch::nn::ModuleList());
  int64_t below = options.channels.back();
  for (size_t level = options.channels.size(); level-- > 0;) {
    const int64_t out = options.channels[level];
    // The last block of a level reads what entered that level on the way down.
    const int64_t entered = options.channels[level > 0 ? level - 1 : 0];
    Stage stage;
    for (int64_t i = 0; i <= options.layers_per_block; ++i) {
      const int64_t skip = i == options.layers_per_block ? entered : out;
      stage->add_residual(encoder_.residual((i == 0 ? below : out) + skip, out));
      if (encoder_.has_attention(level)) {
        stage->add_attention(out, options.attention_head_dim, encoder_.norm());
      }
    }
    if (level > 0 && encoder_.resamples_in_block(level)) {
      stage->add_residual_upsample(encoder_.residual(out, out, Resampling::twice));
    } else if (level > 0) {
      stage->add_upsample(out, encoder_.boundaries());
    }
    blocks->push_back(stage);
    up_blocks_.push_back(stage);
    below = out;
  }
}

torch::Tensor UNetImpl::output_layer_padded(const torch::Tensor& h) {
  const NormOptions norm = encoder_.norm();
  const torch::Tensor activated = kernels::group_norm(
      h, conv_norm_out_->weight, conv_norm_out_->bias, norm.groups, norm.eps, /*silu=*/true);
  return torch::conv2d(kernels::with_border(activated), conv_out_->weight, conv_out_->bias);
}

torch::Tensor UNetImpl::output_layer_channels_last(const torch::Tensor& h) {
  const NormOptions norm = encoder_.norm();
  const torch::Tensor activated = kernels::channels_last_norm(
      h, {}, conv_norm_out_->weight, conv_norm_out_->bias, {norm.groups, norm.eps, /*silu=*/true});
  const torch::Tensor out = conv3x3_channels_last(activated, *conv_out_);
  return out.contiguous();  // as the other routes leave it
}

torch::Tensor UNetImpl::by_layers(const torch::Tensor& in, const BlockContext& context) {
  std::vector<torch::Tensor> skips;
  torch::Tensor h = encoder_.forward(in, context, skips);
  for (auto& stage : up_blocks_) h = stage->up(h, context, skips);
  return context.padded          ? output_layer_padded(h)
         : context.channels_last ? output_layer_channels_last(h)
                                 : conv_out_(torch::silu(conv_norm_out_(h)));
}

torch::Tensor UNetImpl::by_executor(const torch::Tensor& in, const BlockContext& context) {
  const torch::Dtype dtype = active_compute_dtype();
  const auto parameters = named_parameters();
  const auto self = std::static_pointer_cast<UNetImpl>(shared_from_this());
  // Copied: they need not live until the backward pass.
  const auto slots =
      context.dropout ? std::make_shared<const BatchSlots>(*context.dropout) : nullptr;
  return executor_.forward(
      {in, context.activated_time, dtype, context.dropout,
       [&parameters](const std::string& name) { return parameters[name]; },
       [self, dtype, slots](const torch::Tensor& x, const torch::Tensor& time) {
         const AutocastScope precision(dtype);
         return self->by_layers(x, BlockContext{.activated_time = time, .dropout = slots.get()});
       }});
}

torch::Tensor UNetImpl::forward(const NetworkInput& input) {
  const BlockContext context = encoder_.context(input);
  const torch::Tensor in = encoder_.prepared(input.x, context);
  const torch::Tensor out = context.whole ? by_executor(in, context) : by_layers(in, context);
  return cropped(out, input.x.sizes().slice(2)).to(input.x.scalar_type());
}

}  // namespace scorenet::models
