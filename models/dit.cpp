#include "models/dit.hpp"

#include "framework/core/error.hpp"
#include "models/attention.hpp"
#include "models/blocks.hpp"
#include "models/flops.hpp"
#include "models/kernels/tokens.hpp"
#include "models/recompute.hpp"

namespace scorenet::models {
namespace {

constexpr int64_t kTimeFeatures = 256;
constexpr double kNormEps = 1e-6;

void check_options(const DiTOptions& o) {
  const auto positive = [](const char* key, int64_t value) {
    if (value >= 1) return;
    throw ConfigError("model." + std::string(key) + " = " + std::to_string(value) +
                      ": must be at least 1.");
  };
  positive("patch_size", o.patch_size);
  positive("width", o.width);
  positive("depth", o.depth);
  positive("heads", o.heads);
  positive("mlp_ratio", o.mlp_ratio);
  if (o.width % 4 != 0 || o.width % o.heads != 0) {
    throw ConfigError("model.width = " + std::to_string(o.width) +
                      ": must be a multiple of 4 and of model.heads = " + std::to_string(o.heads) +
                      ".");
  }
  if (!(o.dropout >= 0.0 && o.dropout < 1.0)) {
    throw ConfigError("model.dropout = " + std::to_string(o.dropout) + ": must be in [0, 1).");
  }
  if (o.num_classes < 0) {
    throw ConfigError("model.num_classes = " + std::to_string(o.num_classes) + ": must be >= 0.");
  }
}

// fused: by kernels of our own.
kernels::NormedTokens modulated(const torch::Tensor& x, const torch::Tensor& shift,
                                const torch::Tensor& scale, bool fused) {
  if (fused) return kernels::modulated_norm(x, shift, scale, kNormEps);
  return {kernels::modulated_norm_formula(x, shift, scale, kNormEps), x};
}

// The module's own call would add the bias in a pass of its own.
torch::Tensor linear(const torch::Tensor& x, const torch::nn::Linear& layer) {
  return at::linear(x, layer->weight, layer->bias);
}

// residual + gate layer(h).
torch::Tensor gated(const torch::Tensor& residual, const torch::Tensor& gate,
                    const torch::Tensor& h, const torch::nn::Linear& layer, bool fused) {
  if (!fused) return residual + gate.unsqueeze(1) * linear(h, layer);
  return kernels::gated_sum(residual, gate, at::linear(h, layer->weight), layer->bias);
}

int64_t power(int64_t base, size_t exponent) {
  int64_t product = 1;
  for (size_t i = 0; i < exponent; ++i) product *= base;
  return product;
}

}  // namespace

DiTBlockImpl::DiTBlockImpl(const DiTOptions& o, int64_t dropout_layer)
    : options_(o),
      dropout_layer_(dropout_layer),
      modulation_(register_module("modulation", torch::nn::Linear(o.width, 6 * o.width))),
      qkv_(register_module("qkv", torch::nn::Linear(o.width, 3 * o.width))),
      proj_(register_module("proj", torch::nn::Linear(o.width, o.width))),
      fc1_(register_module("fc1", torch::nn::Linear(o.width, o.mlp_ratio * o.width))),
      fc2_(register_module("fc2", torch::nn::Linear(o.mlp_ratio * o.width, o.width))) {}

// x (B, T, width).
bool DiTBlockImpl::has_own_kernels(const torch::Tensor& x) const {
  return options_.kernels == "auto" && !counts_operations() && kernels::has_token_route(x);
}

torch::Tensor DiTBlockImpl::mixed(const torch::Tensor& x, bool fused) {
  std::array<torch::Tensor, 3> parts;  // (B, heads, tokens, width / heads)
  if (fused && kernels::mixes_heads(x)) {
    return kernels::mix_heads(at::linear(x, qkv_->weight), qkv_->bias, options_.heads);
  } else if (fused) {
    const torch::Tensor qkv = at::linear(x, qkv_->weight, qkv_->bias.detach());
    parts = kernels::split_heads(qkv, qkv_->bias, options_.heads);
  } else {
    const auto rows = linear(x, qkv_).chunk(3, 2);
    for (size_t i = 0; i < parts.size(); ++i)
      parts[i] = rows[i].unflatten(2, {options_.heads, -1}).transpose(1, 2);
  }
  return attend(parts[0], parts[1], parts[2]).transpose(1, 2).flatten(2);
}

torch::Tensor DiTBlockImpl::expanded(const torch::Tensor& x, bool fused) {
  if (!fused) return torch::gelu(linear(x, fc1_), "tanh");
  return kernels::gelu_behind_bias(at::linear(x, fc1_->weight), fc1_->bias);
}

torch::Tensor DiTBlockImpl::forward(const torch::Tensor& x, const torch::Tensor& activated,
                                    const BatchSlots* dropout, const torch::Tensor& residual) {
  const auto m = linear(activated, modulation_).chunk(6, 1);  // shift, scale, gate of each half
  const bool fused = has_own_kernels(x);
  const auto [normed, input] = modulated(x, m[0], m[1], fused);
  const torch::Tensor h =
      gated(residual.defined() ? residual : input, m[2], mixed(normed, fused), proj_, fused);
  const auto [normed_h, kept] = modulated(h, m[3], m[4], fused);
  const torch::Tensor inner =
      slot_dropout(expanded(normed_h, fused), options_.dropout, dropout_layer_, dropout);
  return gated(kept, m[5], inner, fc2_, fused);
}

DiTImpl::DiTImpl(const DiTOptions& options, int64_t image_channels, int64_t axes)
    : options_(options),
      image_channels_(image_channels),
      channels_out_(options.learned_variance ? 2 * image_channels : image_channels),
      boundaries_(boundaries_of(options.padding, axes)),
      positions_(boundaries_, options.width) {
  check_options(options_);
  const int64_t width = options_.width, patch = options_.patch_size;
  patch_embedding_ = register_module(
      "patch_embedding",
      Convolution(ConvolutionOptions{.in = image_channels + options_.conditions.channels,
                                     .out = width,
                                     .size = patch,
                                     .stride = patch,
                                     .padding = 0,
                                     .boundaries = Boundaries(boundaries_.size())}));
  time_embedding_ = register_module("time_embedding", TimeEmbedding(kTimeFeatures, width));
  if (options_.num_classes > 0) {
    class_embedding_ =
        register_module("class_embedding", torch::nn::Embedding(options_.num_classes + 1, width));
  }
  if (options_.conditions.any()) {
    condition_embedding_ =
        register_module("condition_embedding", ConditionEmbedding(options_.conditions, width));
  }
  if (options_.conditions.augment > 0) {
    augment_embedding_ =
        register_module("augment_embedding", augment_layer(options_.conditions, width));
  }
  const auto list = register_module("blocks", torch::nn::ModuleList());
  for (int64_t i = 0; i < options_.depth; ++i) {
    blocks_.emplace_back(options_, i);
    list->push_back(blocks_.back());
  }
  final_modulation_ = register_module("final_modulation", torch::nn::Linear(width, 2 * width));
  const int64_t values = power(patch, boundaries_.size()) * channels_out_;
  final_ = register_module("final", torch::nn::Linear(width, values));
}

torch::Tensor DiTImpl::embed_level(const NetworkInput& input, const Conditions& given) {
  const torch::Tensor features = sinusoidal_embedding(
      time_coordinate(input.log_snr), {.dim = kTimeFeatures}, final_->weight.scalar_type());
  const torch::Tensor labels = labels_or_none(input, options_.num_classes);
  torch::Tensor level = time_embedding_(features);
  if (class_embedding_) level = level + class_embedding_(labels);
  if (condition_embedding_) level = level + condition_embedding_(given);
  if (augment_embedding_) level = with_augment(level, augment_embedding_, input.given);
  return torch::silu(level);
}

torch::Tensor DiTImpl::run_block(DiTBlock& block, const torch::Tensor& h,
                                 const torch::Tensor& activated, const BatchSlots* dropout) {
  if (!options_.recompute) return block(h, activated, dropout);
  // The batch's slots are copied: they need not live until the backward pass.
  const auto slots = dropout ? std::make_shared<const BatchSlots>(*dropout) : nullptr;
  const Segment segment = [block, slots](const auto& in) mutable {
    return block(in[1], in[2], slots.get(), in[0]);
  };
  return recomputed(segment, {h, h, activated}, block->parameters());
}

torch::Tensor DiTImpl::from_patches(const torch::Tensor& h, c10::IntArrayRef grid) const {
  // (B, grid, patch, C) -> (B, C, grid 0, patch 0, grid 1, patch 1, ...)
  const auto axes = static_cast<int64_t>(grid.size());
  std::vector<int64_t> split{h.size(0)}, order{0, 2 * axes + 1}, joined{h.size(0), channels_out_};
  split.insert(split.end(), grid.begin(), grid.end());
  split.insert(split.end(), grid.size(), options_.patch_size);
  split.push_back(channels_out_);
  for (int64_t axis = 0; axis < axes; ++axis) {
    order.insert(order.end(), {1 + axis, 1 + axes + axis});
    joined.push_back(grid[axis] * options_.patch_size);
  }
  return h.view(split).permute(order).reshape(joined);
}

torch::Tensor DiTImpl::forward(const NetworkInput& input) {
  const torch::Tensor& x = input.x;
  check_input("dit", x, image_channels_, boundaries_.size());
  const Conditions given = completed(input.given, options_.conditions, x);
  const torch::Tensor activated = embed_level(input, given);
  const torch::Tensor in = given.fields.defined() ? torch::cat({x, given.fields}, 1) : x;
  const torch::Tensor patches = patch_embedding_(padded_to_multiple(in, options_.patch_size));
  const std::vector<int64_t> grid = patches.sizes().slice(2).vec();

  torch::Tensor h = patches.flatten(2).transpose(1, 2);  // (B, tokens, width)
  h = h + positions_.of(grid, h);
  for (auto& block : blocks_) h = run_block(block, h, activated, input.dropout);
  const auto m = linear(activated, final_modulation_).chunk(2, 1);
  h = linear(modulated(h, m[0], m[1], blocks_.front()->has_own_kernels(h)).normed, final_);
  return cropped(from_patches(h, grid), x.sizes().slice(2)).to(x.scalar_type());
}

}  // namespace scorenet::models
