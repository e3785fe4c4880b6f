// The embedding by which a network gets the noise level.
//
// The number that is embedded is a coordinate u, by default u = 25 (20 - log_snr): log_snr from 20
// down to -20 nats becomes 0 to 1000, the range of the time steps that DDPM's sinusoids were made
// for (Ho et al. 2020, 2006.11239, following Vaswani et al. 2017, section 3.5), and depends on no
// schedule. A network that was trained on discrete time steps is given its own steps instead: a
// table of the log-SNR of every step, interpolated linearly.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <vector>

namespace scorenet::models {

/// log_snr: (B), nats. log_snr_of_step: falling; empty for the default map. Returns u (B), float64.
/// Beyond the table's ends u stays at the end. Throws ConfigError if the table does not fall.
torch::Tensor time_coordinate(const torch::Tensor& log_snr,
                              const std::vector<double>& log_snr_of_step = {});

/// The same in two steps, so that a network on a GPU keeps the table there: the table as
/// step_coordinate reads it (rising, float64, on the CPU), and the coordinate by a table on
/// log_snr's device. Throws ConfigError if log_snr_of_step does not fall.
torch::Tensor step_table(const std::vector<double>& log_snr_of_step);
torch::Tensor step_coordinate(const torch::Tensor& log_snr, const torch::Tensor& table);

struct SinusoidOptions {
  int64_t dim = 32;           // even: dim / 2 frequencies
  bool cosines_first = true;  // order of the halves; true as in diffusers' UNet2DModel
  /// Frequencies 10000^(-i / (dim / 2 - freq_shift)); 1 in the original DDPM code.
  double freq_shift = 0.0;
};

/// u: (B). Returns (B, dim) of `dtype`: cos and sin of u 10000^(-i / (dim / 2 - freq_shift)), i = 0
/// .. dim / 2 - 1. Computed in float64: at u = 1000 a float32 argument would have lost four digits.
torch::Tensor sinusoidal_embedding(const torch::Tensor& u, const SinusoidOptions& options,
                                   torch::Dtype dtype);

/// Appends sin(2^n pi x) and cos(2^n pi x) for every n to the channels of x (B, C, ...), so that a
/// network can see single grey levels (Variational Diffusion Models, 2107.00630, with n = 7, 8).
/// Returns (B, C (1 + 2 exponents.size()), ...).
torch::Tensor append_fourier_features(const torch::Tensor& x,
                                      const std::vector<int64_t>& exponents);

/// linear_1 -> SiLU -> linear_2, (B, in) -> (B, out). Names as diffusers' TimestepEmbedding.
class TimeEmbeddingImpl : public torch::nn::Module {
 public:
  TimeEmbeddingImpl(int64_t in, int64_t out);
  torch::Tensor forward(const torch::Tensor& features);

 private:
  torch::nn::Linear linear_1_;
  torch::nn::Linear linear_2_;
};
TORCH_MODULE(TimeEmbedding);

}  // namespace scorenet::models
