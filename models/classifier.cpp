#include "models/classifier.hpp"

#include <numeric>

#include "framework/core/check.hpp"
#include "models/initialise.hpp"

namespace scorenet::models {
namespace {

template <typename Options>
Options unlabelled(Options options) {
  options.num_classes = 0;
  return options;
}

void check_classes(const ClassifierOptions& options) {
  if (options.num_classes >= 2) return;
  throw ConfigError("classifier: model.num_classes = " + std::to_string(options.num_classes) +
                    ", must be at least 2.");
}

}  // namespace

ImageClassifierImpl::ImageClassifierImpl(const ClassifierOptions& options, int64_t image_channels,
                                         int64_t axes)
    : encoder_(*this, unlabelled(options.encoder), image_channels,
               boundaries_of(options.encoder.padding, axes)) {
  const int64_t width = options.encoder.channels.back();
  norm_out_ =
      register_module("norm_out", make_group_norm(encoder_.norm(), width, "the classifier's end"));
  head_ = register_module("head", torch::nn::Linear(width, options.num_classes));
  encoder_.know_blocks(*this);
}

torch::Tensor ImageClassifierImpl::features(const NetworkInput& input) {
  BlockContext context = encoder_.context(input);
  context.padded = false;  // guidance differentiates in x, and training is short
  std::vector<torch::Tensor> skips;
  const torch::Tensor coarsest =
      encoder_.forward(encoder_.prepared(input.x, context), context, skips);
  std::vector<int64_t> axes(encoder_.boundaries().size());
  std::iota(axes.begin(), axes.end(), 2);
  return torch::silu(norm_out_(coarsest)).mean(axes);
}

torch::Tensor ImageClassifierImpl::forward(const NetworkInput& input) {
  return head_(features(input)).to(input.x.scalar_type());
}

PointClassifierImpl::PointClassifierImpl(const ClassifierOptions& options, int64_t dims)
    : mlp_(register_module("mlp", MLP(unlabelled(options.mlp), dims, options.num_classes))) {}

torch::Tensor PointClassifierImpl::features(const NetworkInput& input) {
  return mlp_->hidden(input);
}

torch::Tensor PointClassifierImpl::forward(const NetworkInput& input) {
  return mlp_->forward(input);
}

std::shared_ptr<Classifier> make_classifier(const ClassifierOptions& options,
                                            c10::IntArrayRef example_shape) {
  check_classes(options);
  const auto axes = static_cast<int64_t>(example_shape.size()) - 1;
  if (axes >= 1 && axes <= 3) {
    auto classifier = std::make_shared<ImageClassifierImpl>(options, example_shape[0], axes);
    initialise_weights(*classifier, options.seed, WeightLaw::xavier_uniform,
                       {"conv2.weight", "to_out.0.weight", "head.weight"});
    return classifier;
  }
  if (example_shape.size() == 1) {
    auto classifier = std::make_shared<PointClassifierImpl>(options, example_shape[0]);
    initialise_weights(*classifier, options.seed, WeightLaw::lecun_normal, {"out.weight"});
    return classifier;
  }
  throw ShapeError("classifier: examples of shape " + shape_string(example_shape) +
                   ", expected (D), (C, L), (C, H, W) or (C, D, H, W).");
}

}  // namespace scorenet::models
