// A classifier of noised data, p(label | x_t): what classifier guidance takes the gradient of
// (Dhariwal & Nichol 2021, 2105.05233, section 4), and a source of features.
//
// Images: the contracting half of the U-Net, then group norm, SiLU, the mean over pixels. Points:
// the hidden layers of the multilayer perceptron. Behind either, one linear layer.
#pragma once

#include <torch/nn/modules/linear.h>

#include <memory>

#include "models/mlp.hpp"
#include "models/score_network.hpp"
#include "models/unet_encoder.hpp"

namespace scorenet::models {

struct ClassifierOptions {
  UNetOptions encoder;  // of images
  MLPOptions mlp;       // of points
  int64_t num_classes = 10;
  uint64_t seed = 0;  // of the initial weights
};

class Classifier : public ScoreNetwork {
 public:
  /// The penultimate layer, (B, features): what the last, linear layer reads. labels of the input
  /// must be undefined.
  virtual torch::Tensor features(const NetworkInput& input) = 0;
};

class ImageClassifierImpl : public Classifier {
 public:
  /// Throws ConfigError naming the key and value that do not fit.
  ImageClassifierImpl(const ClassifierOptions& options, int64_t image_channels, int64_t axes);
  /// x: (B, image_channels, ...), log_snr: (B). Returns logits (B, num_classes), x's dtype.
  torch::Tensor forward(const NetworkInput& input) override;
  torch::Tensor features(const NetworkInput& input) override;

 private:
  UNetEncoder encoder_;
  torch::nn::GroupNorm norm_out_{nullptr};
  torch::nn::Linear head_{nullptr};
};

class PointClassifierImpl : public Classifier {
 public:
  /// Throws ConfigError naming the key and value that do not fit.
  PointClassifierImpl(const ClassifierOptions& options, int64_t dims);
  /// x: (B, dims), log_snr: (B). Returns logits (B, num_classes), x's dtype.
  torch::Tensor forward(const NetworkInput& input) override;
  torch::Tensor features(const NetworkInput& input) override;

 private:
  MLP mlp_{nullptr};
};

/// A classifier for examples of example_shape, (C, H, W) or (D), its weights a function of
/// options.seed alone; all classes start equally likely. The num_classes of encoder and mlp are
/// ignored: a classifier is not told the label. Throws ShapeError for another example_shape,
/// ConfigError as above.
std::shared_ptr<Classifier> make_classifier(const ClassifierOptions& options,
                                            c10::IntArrayRef example_shape);

}  // namespace scorenet::models
