// What fd, kid and pr compare: the features of a named extractor.
#pragma once

#include <torch/types.h>

#include <functional>
#include <string>

namespace scorenet::evaluate {

struct FeatureExtractor {
  std::string name;    // as given: it stands beside every figure
  std::string digest;  // XXH3 of its file; "": it has none
  /// x (B, ...) in [-1, 1] or continuous units -> (B, F), in evaluation mode, on the CPU.
  std::function<torch::Tensor(const torch::Tensor& x)> features;
};

/// "pixels": the values themselves. FILE.safetensors: a snapshot of a classifier that this program
/// trained; its last features before the logits, at its cleanest level. FILE.pt: a TorchScript
/// module from (B, C, H, W) in [-1, 1] to (B, F), such as an exported Inception; PyTorch's own
/// format, so any published extractor can be brought. Throws ConfigError for another name,
/// CheckpointError for a file that cannot be read, ShapeError for a classifier of other examples.
FeatureExtractor make_feature_extractor(const std::string& name, c10::IntArrayRef example_shape,
                                        torch::Device device);

}  // namespace scorenet::evaluate
