#include "models/unet_encoder.hpp"

#include <algorithm>

#include "framework/core/check.hpp"
#include "models/autocast.hpp"
#include "models/cpu/executor.hpp"
#include "models/flops.hpp"
#include "models/kernels/channels_last.hpp"
#include "models/kernels/fast_path.hpp"
#include "models/recompute.hpp"

namespace scorenet::models {
namespace {

void check_options(const UNetOptions& o) {
  const auto fail = [](const std::string& key, const std::string& value, const std::string& must) {
    throw ConfigError("model." + key + " = " + value + ": " + must + ".");
  };
  if (o.channels.empty() || *std::min_element(o.channels.begin(), o.channels.end()) < 1) {
    fail("channels", shape_string(o.channels), "must hold at least one number, all positive");
  }
  if (o.channels[0] % 2 != 0) {
    fail("channels", shape_string(o.channels),
         "the first must be even, it is the width of the time embedding");
  }
  if (o.layers_per_block < 1) {
    fail("layers_per_block", std::to_string(o.layers_per_block), "must be at least 1");
  }
  if (!o.attention.empty() && o.attention.size() != o.channels.size()) {
    fail("attention with " + std::to_string(o.attention.size()) + " flags; model.channels",
         shape_string(o.channels), "give one flag per level, or none");
  }
  if (!o.residual_resampling.empty() && o.residual_resampling.size() != o.channels.size()) {
    fail("residual_resampling with " + std::to_string(o.residual_resampling.size()) +
             " flags; model.channels",
         shape_string(o.channels), "give one flag per level, or none");
  }
  if (!(o.dropout >= 0.0 && o.dropout < 1.0)) {
    fail("dropout", std::to_string(o.dropout), "must be in [0, 1)");
  }
  if (o.num_classes < 0) fail("num_classes", std::to_string(o.num_classes), "must be >= 0");
  const auto choices = kernel_choices();
  if (std::find(choices.begin(), choices.end(), o.kernels) == choices.end())
    fail("kernels", "\"" + o.kernels + "\"", "auto, aten or blocks");
  if (o.downsample_padding != 0 && o.downsample_padding != 1) {
    fail("downsample_padding", std::to_string(o.downsample_padding), "must be 0 or 1");
  }
}

// Measured on one Zen 4 core, time of ATen's step / the fast path's: 1.03 (fp32) and 1.06
// (bf16) with 32 and 64 channels, 0.96 and 0.90 with 128 and 256, where ATen's own kernels
// block the channels better.
constexpr int64_t kWidestFastChannels = 64;

}  // namespace

std::vector<std::string> kernel_choices() { return {"auto", "aten", "blocks"}; }

StageImpl::StageImpl() { register_module("resnets", torch::nn::ModuleList()); }

void StageImpl::add_residual(const ResidualBlockOptions& options) {
  residuals_.emplace_back(options);
  named_children()["resnets"]->as<torch::nn::ModuleList>()->push_back(residuals_.back());
}

void StageImpl::add_attention(int64_t channels, int64_t head_dim, const NormOptions& norm) {
  if (attentions_.empty()) register_module("attentions", torch::nn::ModuleList());
  attentions_.emplace_back(channels, head_dim, norm);
  named_children()["attentions"]->as<torch::nn::ModuleList>()->push_back(attentions_.back());
}

void StageImpl::add_downsample(int64_t channels, int64_t padding, const Boundaries& boundaries) {
  downsample_ = Downsample(channels, padding, boundaries);
  register_module("downsamplers", torch::nn::ModuleList())->push_back(downsample_);
}

void StageImpl::add_upsample(int64_t channels, const Boundaries& boundaries) {
  upsample_ = Upsample(channels, boundaries);
  register_module("upsamplers", torch::nn::ModuleList())->push_back(upsample_);
}

void StageImpl::add_residual_resampling(const std::string& list,
                                        const ResidualBlockOptions& options) {
  residuals_.emplace_back(options);
  register_module(list, torch::nn::ModuleList())->push_back(residuals_.back());
  resamples_in_block_ = true;
}

void StageImpl::add_residual_downsample(const ResidualBlockOptions& options) {
  add_residual_resampling("downsamplers", options);
}

void StageImpl::add_residual_upsample(const ResidualBlockOptions& options) {
  add_residual_resampling("upsamplers", options);
}

torch::Tensor StageImpl::layer_recomputed(size_t i, const torch::Tensor& x,
                                          const torch::Tensor& skip, const BlockContext& context) {
  const size_t block = static_cast<size_t>(residuals_[i]->number());
  // Of two uses, the residual's gradient comes first; joined with a skip, x has one use.
  std::vector<torch::Tensor> inputs{
      skip.defined() ? skip : x, x,
      context.channels_last ? context.shifts[block] : context.activated_time};
  std::vector<torch::Tensor> parameters = residuals_[i]->parameters();
  if (i < attentions_.size())
    for (const auto& p : attentions_[i]->parameters()) parameters.push_back(p);

  // The batch's slots are copied: they need not live until the backward pass.
  const auto slots =
      context.dropout ? std::make_shared<const BatchSlots>(*context.dropout) : nullptr;
  const Segment segment = [this, i, block, slots, joins = skip.defined(), padded = context.padded,
                           channels_last = context.channels_last](const auto& in) {
    BlockContext inner{in[2], slots.get(), padded, channels_last};
    if (channels_last) {
      inner.shifts.resize(block + 1);
      inner.shifts[block] = in[2];
    }
    if (!joins) inner.residual = in[0];
    return layer(i, in[1], joins ? in[0] : torch::Tensor(), inner);
  };
  return recomputed(segment, inputs, parameters);
}

torch::Tensor StageImpl::layer(size_t i, const torch::Tensor& x, const torch::Tensor& skip,
                               const BlockContext& context) {
  if (context.recompute) return layer_recomputed(i, x, skip, context);
  const bool has_attention = i < attentions_.size();
  if (context.padded) {
    const torch::Tensor h = residuals_[i]->forward_padded(x, skip, context.activated_time);
    return has_attention ? attentions_[i]->forward_padded(h) : h;
  }
  const torch::Tensor joined = skip.defined() ? torch::cat({x, skip}, 1) : x;
  if (context.channels_last) {
    const torch::Tensor h = residuals_[i]->forward_channels_last(
        joined, context.shifts[static_cast<size_t>(residuals_[i]->number())], context.dropout);
    return has_attention ? attentions_[i]->forward_channels_last(h) : h;
  }
  const torch::Tensor h =
      residuals_[i](joined, context.activated_time, context.dropout, context.residual);
  return has_attention ? attentions_[i](h) : h;
}

torch::Tensor StageImpl::down(torch::Tensor x, const BlockContext& context,
                              std::vector<torch::Tensor>& skips) {
  for (size_t i = 0; i < layers(); ++i) {
    x = layer(i, x, {}, context);
    skips.push_back(x);
  }
  if (resamples_in_block_) {
    x = layer(layers(), x, {}, context);
    skips.push_back(x);
  } else if (downsample_) {
    x = context.padded          ? downsample_->forward_padded(x)
        : context.channels_last ? downsample_->forward_channels_last(x)
                                : downsample_(x);
    skips.push_back(x);
  }
  return x;
}

torch::Tensor StageImpl::middle(torch::Tensor x, const BlockContext& context) {
  for (size_t i = 0; i < layers(); ++i) x = layer(i, x, {}, context);
  return x;
}

torch::Tensor StageImpl::up(torch::Tensor x, const BlockContext& context,
                            std::vector<torch::Tensor>& skips) {
  for (size_t i = 0; i < layers(); ++i) {
    x = layer(i, x, skips.back(), context);
    skips.pop_back();
  }
  if (resamples_in_block_) return layer(layers(), x, {}, context);
  if (!upsample_) return x;
  return context.padded          ? upsample_->forward_padded(x)
         : context.channels_last ? upsample_->forward_channels_last(x)
                                 : upsample_(x);
}

UNetEncoder::UNetEncoder(torch::nn::Module& owner, const UNetOptions& options,
                         int64_t image_channels, const Boundaries& boundaries)
    : options_(options), image_channels_(image_channels), boundaries_(boundaries) {
  check_options(options_);
  const int64_t first = options_.channels.front();
  conv_in_ = owner.register_module("conv_in", conv3(prepared_channels(), first, boundaries_));
  time_embedding_ = owner.register_module("time_embedding", TimeEmbedding(first, 4 * first));
  if (options_.num_classes > 0) {
    class_embedding_ = owner.register_module(
        "class_embedding", torch::nn::Embedding(options_.num_classes + 1, 4 * first));
  }
  if (options_.conditions.any()) {
    condition_embedding_ = owner.register_module(
        "condition_embedding", ConditionEmbedding(options_.conditions, 4 * first));
  }
  if (options_.conditions.augment > 0) {
    augment_embedding_ =
        owner.register_module("augment_embedding", augment_layer(options_.conditions, 4 * first));
  }
  build_down(owner);
  build_middle(owner);
  if (!options_.log_snr_of_step.empty()) step_table_ = step_table(options_.log_snr_of_step);
}

bool UNetEncoder::has_attention(size_t level) const {
  return !options_.attention.empty() && options_.attention[level];
}

bool UNetEncoder::resamples_in_block(size_t level) const {
  return !options_.residual_resampling.empty() && options_.residual_resampling[level];
}

ResidualBlockOptions UNetEncoder::residual(int64_t in, int64_t out, Resampling resampling) {
  return {.in_channels = in,
          .out_channels = out,
          .time_channels = 4 * options_.channels.front(),
          .norm = norm(),
          .dropout = options_.dropout,
          .dropout_layer = dropout_layers_++,
          .boundaries = boundaries_,
          .scale_shift = options_.scale_shift,
          .resampling = resampling};
}

void UNetEncoder::build_down(torch::nn::Module& owner) {
  const auto blocks = owner.register_module("down_blocks", torch::nn::ModuleList());
  int64_t in = options_.channels.front();
  for (size_t level = 0; level < options_.channels.size(); ++level) {
    const int64_t out = options_.channels[level];
    Stage stage;
    for (int64_t i = 0; i < options_.layers_per_block; ++i) {
      stage->add_residual(residual(i == 0 ? in : out, out));
      if (has_attention(level)) {
        stage->add_attention(out, options_.attention_head_dim, norm());
      }
    }
    const bool coarsest = level + 1 == options_.channels.size();
    if (!coarsest && resamples_in_block(level)) {
      stage->add_residual_downsample(residual(out, out, Resampling::half));
    } else if (!coarsest) {
      stage->add_downsample(out, options_.downsample_padding, boundaries_);
    }
    blocks->push_back(stage);
    down_blocks_.push_back(stage);
    in = out;
  }
}

void UNetEncoder::build_middle(torch::nn::Module& owner) {
  const int64_t width = options_.channels.back();
  mid_block_ = owner.register_module("mid_block", Stage());
  mid_block_->add_residual(residual(width, width));
  if (options_.mid_attention) {
    const int64_t groups = options_.mid_norm_groups;
    mid_block_->add_attention(width, options_.attention_head_dim,
                              {groups < 0 ? options_.norm_groups : groups, options_.norm_eps});
  }
  mid_block_->add_residual(residual(width, width));
}

BlockContext UNetEncoder::context(const NetworkInput& input) {
  check_input("unet", input.x, image_channels_, boundaries_.size());
  const torch::Tensor u = time_coordinate_of(input.log_snr);
  const SinusoidOptions sinusoid{options_.channels.front(), options_.cosines_first,
                                 options_.freq_shift};
  torch::Tensor time =
      time_embedding_(sinusoidal_embedding(u, sinusoid, conv_in_->weight.scalar_type()));
  const torch::Tensor labels = labels_or_none(input, options_.num_classes);
  if (class_embedding_) time = time + class_embedding_(labels);
  const Conditions given = completed(input.given, options_.conditions, input.x);
  if (condition_embedding_) time = time + condition_embedding_(given);
  if (augment_embedding_) time = with_augment(time, augment_embedding_, input.given);
  BlockContext context{torch::silu(time), input.dropout};
  context.channels_last = takes_gpu_route(input);
  context.whole = !context.channels_last && takes_executor(input);
  context.padded = takes_fast_path(input);
  context.recompute = options_.recompute;
  context.fields = given.fields;
  if (context.channels_last) context.shifts = shifts_of(blocks_, context.activated_time);
  return context;
}

void UNetEncoder::know_blocks(torch::nn::Module& owner) {
  for (const auto& module : owner.modules(/*include_self=*/false)) {
    if (auto block = std::dynamic_pointer_cast<ResidualBlockImpl>(module)) blocks_.push_back(block);
  }
  std::sort(blocks_.begin(), blocks_.end(),
            [](const auto& a, const auto& b) { return a->number() < b->number(); });
}

torch::Tensor UNetEncoder::time_coordinate_of(const torch::Tensor& log_snr) {
  if (!step_table_.defined()) return time_coordinate(log_snr);
  // Copied to a GPU once: a step that a CUDA graph holds may not read the host's memory.
  if (step_table_.device() != log_snr.device()) step_table_ = step_table_.to(log_snr.device());
  return step_coordinate(log_snr, step_table_);
}

bool UNetEncoder::has_plain_blocks() const {
  const auto& flags = options_.residual_resampling;
  const bool usual_norms = !options_.mid_attention || options_.mid_norm_groups < 0 ||
                           options_.mid_norm_groups == options_.norm_groups;
  return !options_.scale_shift && usual_norms &&
         std::find(flags.begin(), flags.end(), true) == flags.end();
}

bool UNetEncoder::takes_gpu_route(const NetworkInput& input) const {
  return options_.kernels == "auto" && is_plain_image(boundaries_) && has_plain_blocks() &&
         input.x.scalar_type() == torch::kFloat32 &&
         conv_in_->weight.scalar_type() == torch::kFloat32 && kernels::has_gpu_route(input.x);
}

bool UNetEncoder::takes_executor(const NetworkInput& input) const {
  return options_.kernels == "auto" && is_plain_image(boundaries_) && has_plain_blocks() &&
         !options_.recompute && input.x.is_cpu() && input.x.size(0) > 0 &&
         input.x.scalar_type() == torch::kFloat32 &&
         conv_in_->weight.scalar_type() == torch::kFloat32 && !counts_operations() &&
         cpu::executor_available(active_compute_dtype());
}

bool UNetEncoder::takes_fast_path(const NetworkInput& input) const {
  const bool drops = options_.dropout > 0 && input.dropout != nullptr;
  const bool fits = std::all_of(options_.channels.begin(), options_.channels.end(),
                                [](int64_t c) { return c % 16 == 0 && c <= kWidestFastChannels; });
  return options_.kernels != "aten" && is_plain_image(boundaries_) && has_plain_blocks() && fits &&
         !drops && !input.x.requires_grad() && input.x.is_cpu() &&
         input.x.scalar_type() == torch::kFloat32 &&
         conv_in_->weight.scalar_type() == torch::kFloat32 &&
         kernels::fast_path_available(active_compute_dtype());
}

int64_t UNetEncoder::prepared_channels() const {
  return image_channels_ * (1 + 2 * static_cast<int64_t>(options_.fourier_features.size())) +
         options_.conditions.channels;
}

torch::Tensor UNetEncoder::prepared(const torch::Tensor& x, const BlockContext& context) const {
  const bool fourier = !options_.fourier_features.empty();
  torch::Tensor in = fourier ? append_fourier_features(x, options_.fourier_features) : x;
  if (context.fields.defined()) in = torch::cat({in, context.fields}, 1);
  return padded_to_multiple(in, int64_t{1} << (options_.channels.size() - 1));
}

torch::Tensor UNetEncoder::forward(const torch::Tensor& in, const BlockContext& context,
                                   std::vector<torch::Tensor>& skips) {
  torch::Tensor h = context.channels_last ? conv3x3_channels_last(in, *conv_in_) : conv_in_(in);
  if (context.padded) h = kernels::to_padded(h);
  skips.push_back(h);
  for (auto& stage : down_blocks_) h = stage->down(h, context, skips);
  return mid_block_->middle(h, context);
}

}  // namespace scorenet::models
