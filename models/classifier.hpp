// A classifier of noised images, p(label | x_t): what classifier guidance takes the gradient of (Dhariwal & Nichol 2021,
// 2105.05233, section 4). The contracting half of the U-Net, then group norm, SiLU, the mean over pixels, one linear layer.
#pragma once

#include <torch/nn/modules/linear.h>

#include <memory>

#include "models/unet_encoder.hpp"

namespace scorenet::models {

struct ClassifierOptions {
  UNetOptions encoder;  // its num_classes must be 0: a classifier is not told the label
  int64_t num_classes = 10;
  uint64_t seed = 0;  // of the initial weights
};

class ClassifierImpl : public torch::nn::Module {
 public:
  /// Throws ConfigError naming the key and value that do not fit.
  ClassifierImpl(const ClassifierOptions& options, int64_t image_channels);
  /// x: (B, image_channels, H, W), log_snr: (B); labels must be undefined. Returns logits (B, num_classes), float32 or
  /// x's dtype.
  torch::Tensor forward(const NetworkInput& input);

 private:
  UNetEncoder encoder_;
  torch::nn::GroupNorm norm_out_{nullptr};
  torch::nn::Linear head_{nullptr};
};
TORCH_MODULE(Classifier);

/// A classifier for images of example_shape (C, H, W), its weights a function of options.seed alone; all classes start
/// equally likely. Throws ShapeError for another example_shape, ConfigError as above.
Classifier make_classifier(const ClassifierOptions& options, c10::IntArrayRef example_shape);

}  // namespace scorenet::models
