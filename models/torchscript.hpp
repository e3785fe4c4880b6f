// A network from a TorchScript file: forward(x, level) or forward(x, level, third), as PyTorch's
// torch.jit.save wrote it.
//
// Its trainable parameters (floating-point ones that need a gradient in the file) become this
// module's, under their own names; what else it holds stays as it is. It always runs in
// evaluation mode, without TorchScript's optimiser: no dropout, stored statistics in batch norm,
// derivatives of every order that its operations have, and the same bits in every call.
//
// A TorchScript file is a program. Run only those that you trust.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <string>

#include "models/score_network.hpp"

namespace scorenet::models {

/// What forward's third argument is told.
enum class ThirdInput { none, label, numbers, fields };

class TorchScriptNetwork : public ScoreNetwork {
 public:
  /// archive: the bytes of the file; where: how messages call it. Throws CheckpointError for bytes
  /// that are no TorchScript archive, ConfigError for a module without a forward of (x, level) and,
  /// where `third` asks for it, one more; NotFiniteError for a weight that is not finite.
  TorchScriptNetwork(const std::string& archive, const std::string& where, ThirdInput third,
                     torch::Device device);
  ~TorchScriptNetwork() override;

  /// forward(x, level, third). x: (B, ...); level: (B); third: undefined where nothing is told.
  /// Computes in the type of its weights; of a module without weights in x's. Returns x's type.
  /// Throws ShapeError with what the module said where it fails, and where its result is no tensor.
  torch::Tensor call(const torch::Tensor& x, const torch::Tensor& level,
                     const torch::Tensor& third);

  /// The archive without its trainable weights: what a snapshot keeps beside them.
  const std::string& archive() const { return archive_; }
  const std::string& where() const { return where_; }
  /// Parameters of the file that need no gradient.
  int64_t frozen_parameters() const { return frozen_; }
  /// The buffer that a call in training mode changes, such as a batch norm's mean; "": none. For
  /// x (2, ...) and its level.
  std::string buffer_that_training_changes(const torch::Tensor& x, const torch::Tensor& level,
                                           const torch::Tensor& third);

 private:
  struct Script;
  std::unique_ptr<Script> script_;
  std::string where_, archive_;
  ThirdInput third_;
  int64_t frozen_ = 0;
};

/// "forward(x, sigma, label)", its weights and buffers, a line each: what can be said of a file
/// without running it. Throws CheckpointError, as the network itself.
std::string describe_torchscript(const std::string& archive, const std::string& where);

}  // namespace scorenet::models
