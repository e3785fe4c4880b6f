#include "models/dit.hpp"

#include "framework/core/check.hpp"
#include "models/attention.hpp"
#include "models/blocks.hpp"

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

// Layer norm without parameters of its own, then x (1 + scale) + shift with one scale and
// shift per example.
torch::Tensor modulated_norm(const torch::Tensor& x, const torch::Tensor& shift,
                             const torch::Tensor& scale) {
  const torch::Tensor normed = torch::layer_norm(x, {x.size(-1)}, {}, {}, kNormEps);
  return normed * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1);
}

}  // namespace

torch::Tensor grid_positions(int64_t height, int64_t width, int64_t dim, torch::Device device) {
  const SinusoidOptions half{.dim = dim / 2, .cosines_first = false};
  const auto along = [&](int64_t n) {
    const auto options = torch::dtype(torch::kFloat64).device(device);
    return sinusoidal_embedding(torch::arange(n, options), half, torch::kFloat64);
  };
  const torch::Tensor rows = along(height).unsqueeze(1).expand({height, width, dim / 2});
  const torch::Tensor columns = along(width).unsqueeze(0).expand({height, width, dim / 2});
  return torch::cat({rows, columns}, 2).view({height * width, dim});
}

DiTBlockImpl::DiTBlockImpl(const DiTOptions& o, int64_t dropout_layer)
    : options_(o),
      dropout_layer_(dropout_layer),
      modulation_(register_module("modulation", torch::nn::Linear(o.width, 6 * o.width))),
      qkv_(register_module("qkv", torch::nn::Linear(o.width, 3 * o.width))),
      proj_(register_module("proj", torch::nn::Linear(o.width, o.width))),
      fc1_(register_module("fc1", torch::nn::Linear(o.width, o.mlp_ratio * o.width))),
      fc2_(register_module("fc2", torch::nn::Linear(o.mlp_ratio * o.width, o.width))) {}

torch::Tensor DiTBlockImpl::attention(const torch::Tensor& x) {
  const int64_t batch = x.size(0), tokens = x.size(1), width = options_.width;
  const torch::Tensor qkv = qkv_(x)
                                .view({batch, tokens, 3, options_.heads, width / options_.heads})
                                .permute({2, 0, 3, 1, 4});
  const torch::Tensor mixed = attend(qkv[0], qkv[1], qkv[2]);
  return proj_(mixed.transpose(1, 2).reshape({batch, tokens, width}));
}

torch::Tensor DiTBlockImpl::forward(const torch::Tensor& x, const torch::Tensor& activated,
                                    const BatchSlots* dropout) {
  const auto m = modulation_(activated).chunk(6, 1);  // shift, scale, gate of each half
  const torch::Tensor h = x + m[2].unsqueeze(1) * attention(modulated_norm(x, m[0], m[1]));
  torch::Tensor inner = torch::gelu(fc1_(modulated_norm(h, m[3], m[4])), "tanh");
  inner = slot_dropout(inner, options_.dropout, dropout_layer_, dropout);
  return h + m[5].unsqueeze(1) * fc2_(inner);
}

DiTImpl::DiTImpl(const DiTOptions& options, int64_t image_channels)
    : options_(options),
      image_channels_(image_channels),
      channels_out_(options.learned_variance ? 2 * image_channels : image_channels) {
  check_options(options_);
  const int64_t width = options_.width, patch = options_.patch_size;
  patch_embedding_ = register_module(
      "patch_embedding",
      torch::nn::Conv2d(torch::nn::Conv2dOptions(image_channels, width, patch).stride(patch)));
  time_embedding_ = register_module("time_embedding", TimeEmbedding(kTimeFeatures, width));
  if (options_.num_classes > 0) {
    class_embedding_ =
        register_module("class_embedding", torch::nn::Embedding(options_.num_classes + 1, width));
  }
  const auto list = register_module("blocks", torch::nn::ModuleList());
  for (int64_t i = 0; i < options_.depth; ++i) {
    blocks_.emplace_back(options_, i);
    list->push_back(blocks_.back());
  }
  final_modulation_ = register_module("final_modulation", torch::nn::Linear(width, 2 * width));
  final_ = register_module("final", torch::nn::Linear(width, patch * patch * channels_out_));
}

torch::Tensor DiTImpl::embed_level(const NetworkInput& input) {
  const torch::Tensor features = sinusoidal_embedding(
      time_coordinate(input.log_snr), {.dim = kTimeFeatures}, final_->weight.scalar_type());
  const torch::Tensor labels = labels_or_none(input, options_.num_classes);
  const torch::Tensor time = time_embedding_(features);
  return torch::silu(class_embedding_ ? time + class_embedding_(labels) : time);
}

torch::Tensor DiTImpl::forward(const NetworkInput& input) {
  const torch::Tensor& x = input.x;
  if (x.dim() != 4 || x.size(1) != image_channels_) {
    throw ShapeError("dit: input of shape " + shape_string(x.sizes()) + ", expected (B, " +
                     std::to_string(image_channels_) + ", H, W).");
  }
  const int64_t batch = x.size(0), height = x.size(2), width = x.size(3), p = options_.patch_size;
  const int64_t rows = (height + p - 1) / p, columns = (width + p - 1) / p;
  const torch::Tensor padded =
      torch::constant_pad_nd(x, {0, columns * p - width, 0, rows * p - height});
  const torch::Tensor activated = embed_level(input);

  torch::Tensor h = patch_embedding_(padded).flatten(2).transpose(1, 2);  // (B, tokens, width)
  h = h + grid_positions(rows, columns, options_.width, h.device()).to(h.scalar_type());
  for (auto& block : blocks_) h = block(h, activated, input.dropout);
  const auto m = final_modulation_(activated).chunk(2, 1);
  h = final_(modulated_norm(h, m[0], m[1]));

  // (B, rows, columns, p, p, C) -> (B, C, rows p, columns p)
  h = h.view({batch, rows, columns, p, p, channels_out_}).permute({0, 5, 1, 3, 2, 4});
  h = h.reshape({batch, channels_out_, rows * p, columns * p});
  return h.narrow(2, 0, height).narrow(3, 0, width).to(x.scalar_type());
}

}  // namespace scorenet::models
