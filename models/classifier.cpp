#include "models/classifier.hpp"

#include "framework/core/check.hpp"
#include "models/initialise.hpp"

namespace scorenet::models {
namespace {

const UNetOptions& checked_encoder(const ClassifierOptions& options) {
  if (options.num_classes < 2) {
    throw ConfigError("classifier.num_classes = " + std::to_string(options.num_classes) +
                      ": must be at least 2.");
  }
  if (options.encoder.num_classes != 0) {
    throw ConfigError(
        "classifier: its encoder has num_classes = " + std::to_string(options.encoder.num_classes) +
        ", must be 0. A classifier is not told the label.");
  }
  return options.encoder;
}

}  // namespace

ClassifierImpl::ClassifierImpl(const ClassifierOptions& options, int64_t image_channels)
    : encoder_(*this, checked_encoder(options), image_channels) {
  const int64_t width = options.encoder.channels.back();
  norm_out_ =
      register_module("norm_out", make_group_norm(encoder_.norm(), width, "the classifier's end"));
  head_ = register_module("head", torch::nn::Linear(width, options.num_classes));
}

torch::Tensor ClassifierImpl::forward(const NetworkInput& input) {
  BlockContext context = encoder_.context(input);
  context.padded = false;  // guidance differentiates in x, and training is short
  std::vector<torch::Tensor> skips;
  const torch::Tensor features = encoder_.forward(input.x, context, skips);
  const torch::Tensor pooled = torch::silu(norm_out_(features)).mean(c10::IntArrayRef{2, 3});
  return head_(pooled).to(input.x.scalar_type());
}

Classifier make_classifier(const ClassifierOptions& options, c10::IntArrayRef example_shape) {
  if (example_shape.size() != 3) {
    throw ShapeError("classifier: examples of shape " + shape_string(example_shape) +
                     ", expected (C, H, W).");
  }
  Classifier classifier(options, example_shape[0]);
  initialise_weights(*classifier, options.seed, WeightLaw::xavier_uniform,
                     {"conv2.weight", "to_out.0.weight", "head.weight"});
  return classifier;
}

}  // namespace scorenet::models
