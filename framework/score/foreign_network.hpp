// A TorchScript network behind the interface of our own: its convention (diffusion/convention.hpp)
// turns the framework's (x, log_snr) into what it expects, and what it returns into the prediction
// that the config asks for.
#pragma once

#include <memory>
#include <string>

#include "framework/config/config.hpp"
#include "framework/diffusion/convention.hpp"
#include "models/torchscript.hpp"

namespace scorenet::score {

class ForeignNetwork : public models::TorchScriptNetwork {
 public:
  /// Throws as TorchScriptNetwork and Convention.
  ForeignNetwork(const config::Config& config, const std::string& archive, const std::string& where,
                 torch::Device device);

  torch::Tensor forward(const models::NetworkInput& input) override;

  /// What a convention makes of the network's answers: x0_hat and eps_hat of x = a x0 + s eps, with
  /// a^2 + s^2 = 1. given: as forward's.
  diffusion::Denoised denoised_by(const diffusion::Convention& convention, const torch::Tensor& x,
                                  const torch::Tensor& log_snr, const models::Conditions& given);

  /// The buffer that a call in training mode would change, such as a batch norm's mean; "": none.
  std::string changed_by_training(const torch::Tensor& x, const models::Conditions& given);

  /// What forward returns for x at a log-SNR of 0.3, before the convention makes a prediction of
  /// it, so that its derivatives are the network's alone.
  torch::Tensor raw_answer(const torch::Tensor& x);

  const diffusion::Convention& convention() const { return convention_; }

 private:
  // Its output for x, without the variance behind it, which `variance` gets.
  torch::Tensor answer(const diffusion::Convention& convention, const torch::Tensor& x,
                       const torch::Tensor& log_snr, const models::Conditions& given,
                       torch::Tensor* variance);
  torch::Tensor third_of(const torch::Tensor& x, const models::Conditions& given) const;

  diffusion::Convention convention_;
  diffusion::Prediction prediction_;
  bool wants_variance_;
  int64_t classes_;
  int64_t numbers_, channels_;  // of conditions
};

/// What forward's third argument is told by this config.
models::ThirdInput third_input(const config::Config& config);

/// The convention of a config's network.
diffusion::Convention convention_of(const config::Config& config);

/// The bytes of model.file. Sets model.file_digest, or compares it. Throws CheckpointError where
/// the file cannot be read, or is another than the one of that digest.
std::string read_network_file(config::Config& config);

/// The network of `archive`, after some calls with noise of example_shape: that it takes batches of
/// any size, treats their examples apart, returns x's shape (with a learned variance twice the
/// channels), finite numbers, and the same ones each time. Throws ShapeError for what does not
/// hold, NotFiniteError, or as the network itself.
std::shared_ptr<ForeignNetwork> make_foreign_network(const config::Config& config,
                                                     const std::string& archive,
                                                     c10::IntArrayRef example_shape,
                                                     torch::Device device);

/// Why the network's derivative of this order in x (1 or 2) cannot be had; "": it can. The first is
/// also held against differences of the network's values, since a network that computes a part of
/// its result outside of autograd has a derivative, and a wrong one.
std::string no_derivative_because(ForeignNetwork& network, c10::IntArrayRef example_shape,
                                  torch::Device device, int order);

/// Whether autograd finds a way from the network's result to any of its weights.
bool can_be_trained(ForeignNetwork& network, c10::IntArrayRef example_shape, torch::Device device);

/// The name under which snapshots keep the archive without its weights: bytes, uint8.
inline constexpr const char* kArchiveName = "scorenet.torchscript";

}  // namespace scorenet::score
