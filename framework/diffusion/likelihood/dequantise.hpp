// Data of L levels made continuous, for evaluators that need a density; 8-bit data has L = 256.
//
// With y drawn from q(y given k): -log P(k) <= E[-log p(y) + log q(y given k)]; p is the density at
// t_min, y the state there. `log_q` is per draw; no other offset is added anywhere.
//
//     uniform            y = 2 (k + u) / L - 1; log q = D log(L / 2): 7 bits a dimension for 256
//     truncated normal   y = alpha_0 x_k + sigma_0 e, e ~ N(0, 1) cut to [-tau, tau],
//                        tau = alpha_0 / (L sigma_0)
//     variational        y = alpha_0 x_k + sigma_0 e, e ~ N(0, 1) uncut; the decoder of L levels
//                        says which level y meant: log q = log N(y; alpha_0 x_k, sigma_0^2)
//                        - log p(k given y)
//     importance         -log (1 / K) sum_k exp(log p(y_k) - log q(y_k))
//
// truncated normal and variational: i-DODE, Zheng et al. 2023, 2305.03935, sec. 4.1
// (training-free). importance tightens each of them towards -log P; the paper's code lacks
// the -log K.
#pragma once

#include <torch/types.h>

#include <vector>

#include "framework/core/pixels.hpp"
#include "framework/diffusion/schedule.hpp"

namespace scorenet::diffusion {

/// y: the state at t_min, x0's shape and dtype; log_q: (B) float64, log q(y given k) of this draw.
struct Dequantised {
  torch::Tensor y;
  torch::Tensor log_q;
};

/// Draw `index` for each example; x0 (B, ...) on the levels, slots as in elbo.hpp. Throws
/// DataError if it is not.
Dequantised dequantise_uniform(const torch::Tensor& x0, const std::vector<int64_t>& slots,
                               uint64_t seed, int64_t index = 0, int64_t levels = kPixelLevels);
Dequantised dequantise_truncated_normal(const torch::Tensor& x0, const Schedule& schedule,
                                        const std::vector<int64_t>& slots, uint64_t seed,
                                        int64_t index = 0, int64_t levels = kPixelLevels);

/// log_q includes minus the decoder's log p(k given y).
Dequantised dequantise_variational(const torch::Tensor& x0, const Schedule& schedule,
                                   const std::vector<int64_t>& slots, uint64_t seed,
                                   int64_t index = 0, int64_t levels = kPixelLevels);

/// H, the entropy of the truncated normal in nats: -E log q, the same for every example.
double truncated_normal_entropy_nats(const Schedule& schedule, int64_t dims,
                                     int64_t levels = kPixelLevels);

/// nats, log_q: (K, B) float64, -log p(y) and log q(y) of K draws. Returns (B): -log (1 / K) sum
/// exp(-nats - log_q). K = 1 is the plain bound. Throws ShapeError.
torch::Tensor importance_weighted_nats(const torch::Tensor& nats, const torch::Tensor& log_q);

}  // namespace scorenet::diffusion
