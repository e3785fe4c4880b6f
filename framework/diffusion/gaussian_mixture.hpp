// A Gaussian mixture under the forward process: exact score, denoiser and density at every noise
// level.
//
// With x0 ~ sum_k w_k N(m_k, C_k), C_k = U_k diag(L_k) U_k^T, and x_t = alpha x0 + sigma eps:
//
//     x_t ~ sum_k w_k N(alpha m_k, U_k diag(v_k) U_k^T),   v_k = alpha^2 L_k + sigma^2
//
// With r_k = P(k given x_t) and y_k = U_k^T (x_t - alpha m_k), by Tweedie's formula and by
// conditioning each Gaussian:
//
//     score   = -sum_k r_k U_k (y_k / v_k)
//     eps_hat = -sigma score
//     x0_hat  = sum_k r_k (m_k + U_k (alpha L_k y_k / v_k))
//
// Both estimates are sums of terms of similar size, so neither loses digits when alpha or sigma is
// small. All values are float64, and autograd can differentiate them any number of times. L_k = 0
// (point masses) is allowed where sigma > 0.
//
// U_k is a matrix, or, for a homogeneous field on a periodic grid, Hartley's transform: waves are
// the directions of all its covariances, and a fast Fourier transform applies them.
#pragma once

#include <torch/types.h>

#include <memory>
#include <vector>

#include "framework/core/random.hpp"
#include "framework/diffusion/denoiser.hpp"

namespace scorenet::diffusion {

/// Orthonormal directions U_k of each of K components, in D dimensions.
class Directions {
 public:
  /// vectors (K, D, D), a direction a column.
  static Directions matrix(torch::Tensor vectors);
  /// The waves cas(2 pi k x / n) = cos + sin of every axis of `grid` but the first, which numbers
  /// channels: the same for all components. Their matrix is symmetric and its own inverse.
  static Directions waves(std::vector<int64_t> grid);

  /// U_k^T y and U_k y of y (B, K, D); to_modes takes (B, 1, D), too.
  torch::Tensor to_modes(const torch::Tensor& y) const;
  torch::Tensor from_modes(const torch::Tensor& y) const;
  /// (K, D, D), for any K where all components have the same ones.
  torch::Tensor as_matrix(int64_t components) const;

 private:
  torch::Tensor vectors_;      // undefined: waves
  std::vector<int64_t> grid_;  // (C, ...)
};

class GaussianMixture {
 public:
  /// weights (K), all >= 0, sum 1; means (K, D); covariances (K, D, D), symmetric, no negative
  /// eigenvalue. Throws ShapeError for shapes that do not fit, DataError for values that do not
  /// make a mixture.
  GaussianMixture(const torch::Tensor& weights, const torch::Tensor& means,
                  const torch::Tensor& covariances);
  /// One Gaussian: a homogeneous periodic field of independent channels. means (C); spectra
  /// (C, ...): the variance of each mode of the orthonormal Fourier transform over all axes but the
  /// channel's, all >= 0 and the same for k and -k. D = C times the grid's points. Throws as above.
  static GaussianMixture field(const torch::Tensor& means, const torch::Tensor& spectra);

  int64_t components() const { return means_.size(0); }
  int64_t dims() const { return means_.size(1); }
  /// True for a single Gaussian: its denoiser is affine in x_t.
  bool is_gaussian() const { return components() == 1; }

  // In all that follows x_t is (B, D) or (B, ...) with D numbers an example; level holds (B).
  // Throws ShapeError else.

  /// log p(x_t): (B), float64. With level {1, 0, inf} it is the density of x0 itself.
  torch::Tensor log_density(const torch::Tensor& x_t, const NoiseLevel& level) const;
  /// grad log p(x_t), shape and dtype of x_t.
  torch::Tensor score(const torch::Tensor& x_t, const NoiseLevel& level) const;
  /// E[x0 given x_t] and E[eps given x_t], shape and dtype of x_t.
  Denoised denoise(const torch::Tensor& x_t, const NoiseLevel& level) const;
  /// Hessian of log p(x_t): (B, D, D), float64.
  torch::Tensor hessian(const torch::Tensor& x_t, const NoiseLevel& level) const;
  /// log p(x0 given x_t): (B), float64. REQUIRES covariances of full rank.
  torch::Tensor log_posterior(const torch::Tensor& x0, const torch::Tensor& x_t,
                              const NoiseLevel& level) const;
  /// Cov(x0 given x_t): (B, D, D), float64.
  torch::Tensor posterior_covariance(const torch::Tensor& x_t, const NoiseLevel& level) const;

  /// Draws of x0, (slots.size(), D) float64; row i depends on (key, slots[i]) alone.
  torch::Tensor sample(const RandomKey& key, const std::vector<int64_t>& slots) const;
  /// Mean (D) and covariance (D, D) of x0.
  torch::Tensor mean() const;
  torch::Tensor covariance() const;

 private:
  struct Conditional;
  GaussianMixture() = default;
  Conditional condition(const torch::Tensor& x_t, const NoiseLevel& level) const;
  torch::Tensor log_joint(const Conditional& c) const;
  torch::Tensor expected(const Conditional& c, const torch::Tensor& of_components) const;
  torch::Tensor basis() const { return directions_.as_matrix(components()); }

  torch::Tensor log_weights_;  // (K)
  torch::Tensor means_;        // (K, D)
  Directions directions_;      // eigenvectors
  torch::Tensor variances_;    // (K, D), eigenvalues
};

/// A known wrong model: s(x, t) = score_scale * grad log p_t(x) + linear x + offset. Undefined
/// tensors are zero.
struct ScoreErrors {
  double score_scale = 1.0;
  torch::Tensor linear;  // (D, D)
  torch::Tensor offset;  // (D)

  bool any() const;
};

/// The mixture's exact denoiser with the errors on top, both estimates free of cancellation:
///     eps_hat = score_scale eps* - sigma (A x + c),
///     x0_hat = x0* - (score_scale - 1) (sigma / alpha) eps* + (sigma^2 / alpha) (A x + c).
/// Throws ShapeError if linear or offset do not fit the mixture's dimensions.
Denoiser make_mixture_denoiser(std::shared_ptr<const GaussianMixture> mixture,
                               const ScoreErrors& errors = {});

}  // namespace scorenet::diffusion
