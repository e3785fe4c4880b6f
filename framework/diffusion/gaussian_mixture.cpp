#include "framework/diffusion/gaussian_mixture.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <sstream>

#include "framework/core/check.hpp"

namespace scorenet::diffusion {
namespace {

void check_shapes(const torch::Tensor& weights, const torch::Tensor& means,
                  const torch::Tensor& covariances) {
  const bool fits = weights.dim() == 1 && means.dim() == 2 && covariances.dim() == 3 &&
                    means.size(0) == weights.size(0) && covariances.size(0) == weights.size(0) &&
                    covariances.size(1) == means.size(1) && covariances.size(2) == means.size(1) &&
                    means.numel() > 0;
  if (fits) return;
  throw ShapeError("Gaussian mixture: weights " + shape_string(weights.sizes()) + ", means " +
                   shape_string(means.sizes()) + ", covariances " +
                   shape_string(covariances.sizes()) + "; expected (K), (K, D), (K, D, D).");
}

void check_weights(const torch::Tensor& weights) {
  const double sum = weights.sum().item<double>();
  const double least = weights.min().item<double>();
  if (least >= 0 && std::abs(sum - 1) <= 1e-6) return;
  std::ostringstream sentence;
  sentence << "Gaussian mixture: weights with sum " << sum << " and least value " << least
           << "; they must be >= 0 and sum to 1.";
  throw DataError(sentence.str());
}

// Eigenvalues that rounding made slightly negative are zero; others are an error.
torch::Tensor checked_variances(const torch::Tensor& eigenvalues) {
  const double least = eigenvalues.min().item<double>();
  const double greatest = eigenvalues.abs().max().item<double>();
  if (!(least >= -1e-12 * greatest)) {
    std::ostringstream sentence;
    sentence << "Gaussian mixture: a covariance has the eigenvalue " << least
             << "; covariances must be symmetric and have none below 0.";
    throw DataError(sentence.str());
  }
  return eigenvalues.clamp_min(0.0);
}

void check_symmetric(const torch::Tensor& covariances) {
  const double asymmetry = (covariances - covariances.transpose(1, 2)).abs().max().item<double>();
  if (asymmetry <= 1e-9 * covariances.abs().max().item<double>()) return;
  std::ostringstream sentence;
  sentence << "Gaussian mixture: covariances differ from their transposes by " << asymmetry
           << "; they must be symmetric.";
  throw DataError(sentence.str());
}

// One value in place of B equal ones: whatever follows from the level alone is then computed once.
torch::Tensor once_if_equal(const torch::Tensor& values) {
  const auto first = values.slice(0, 0, 1);
  return values.eq(first).all().item<bool>() ? first : values;
}

// Of every mode, the variance of the mode with the opposite wave vector.
torch::Tensor at_opposite_waves(const torch::Tensor& spectra) {
  torch::Tensor opposite = spectra;
  for (int64_t axis = 1; axis < spectra.dim(); ++axis)
    opposite = opposite.flip({axis}).roll({1}, {axis});
  return opposite;
}

void check_spectra(const torch::Tensor& means, const torch::Tensor& spectra) {
  if (means.dim() != 1 || spectra.dim() < 2 || spectra.size(0) != means.size(0) ||
      spectra.numel() == 0) {
    throw ShapeError("Gaussian field: means " + shape_string(means.sizes()) + ", spectra " +
                     shape_string(spectra.sizes()) + "; expected (C) and (C, ...).");
  }
  const double least = spectra.min().item<double>();
  const double asymmetry = (spectra - at_opposite_waves(spectra)).abs().max().item<double>();
  if (least >= 0 && asymmetry <= 1e-9 * spectra.max().item<double>()) return;
  std::ostringstream sentence;
  sentence << "Gaussian field: a spectrum with the least value " << least << " and a difference of "
           << asymmetry
           << " between opposite waves; expected variances >= 0, the same for k and -k.";
  throw DataError(sentence.str());
}

}  // namespace

Directions Directions::matrix(torch::Tensor vectors) {
  Directions directions;
  directions.vectors_ = std::move(vectors);
  return directions;
}

Directions Directions::waves(std::vector<int64_t> grid) {
  Directions directions;
  directions.grid_ = std::move(grid);
  return directions;
}

torch::Tensor Directions::to_modes(const torch::Tensor& y) const {
  return vectors_.defined() ? torch::einsum("kji,bkj->bki", {vectors_, y}) : from_modes(y);
}

torch::Tensor Directions::from_modes(const torch::Tensor& y) const {
  if (vectors_.defined()) return torch::einsum("kij,bkj->bki", {vectors_, y});
  std::vector<int64_t> shape = grid_, axes(grid_.size() - 1);
  shape.insert(shape.begin(), -1);
  std::iota(axes.begin(), axes.end(), 2);
  // cas = cos + sin, and Fourier's kernel is cos - i sin.
  const auto waves = at::fft_fftn(y.reshape(shape), at::OptionalIntArrayRef(), axes, "ortho");
  return (at::real(waves) - at::imag(waves)).reshape(y.sizes());
}

torch::Tensor Directions::as_matrix(int64_t components) const {
  if (vectors_.defined()) return vectors_;
  const auto dims = std::accumulate(grid_.begin(), grid_.end(), int64_t{1}, std::multiplies<>());
  const auto unit = torch::eye(dims, torch::kFloat64).unsqueeze(1);
  return from_modes(unit).squeeze(1).expand({components, dims, dims});
}

struct GaussianMixture::Conditional {
  torch::Tensor y;                 // (B, K, D)
  torch::Tensor responsibilities;  // (B, K, 1); of one component undefined: all are 1
  torch::Tensor residual;          // (B, K, D): y_k / v_k
  torch::Tensor variances;         // (B, K, D), or (1, K, D): v_k
  torch::Tensor alpha;             // (B, 1, 1), or (1, 1, 1) where it is the same for all
  torch::Tensor sigma;             // as alpha

  // (B, K)
  torch::Tensor weights() const {
    return responsibilities.defined() ? responsibilities.squeeze(-1)
                                      : torch::ones({y.size(0), 1}, torch::kFloat64);
  }
};

GaussianMixture::GaussianMixture(const torch::Tensor& weights, const torch::Tensor& means,
                                 const torch::Tensor& covariances) {
  check_shapes(weights, means, covariances);
  const auto w = weights.to(torch::kFloat64);
  const auto c = covariances.to(torch::kFloat64);
  check_weights(w);
  check_symmetric(c);
  log_weights_ = (w / w.sum()).log();
  means_ = means.to(torch::kFloat64).contiguous();
  const auto [eigenvalues, eigenvectors] = torch::linalg_eigh(c);
  variances_ = checked_variances(eigenvalues);
  directions_ = Directions::matrix(eigenvectors);
}

GaussianMixture GaussianMixture::field(const torch::Tensor& means, const torch::Tensor& spectra) {
  check_spectra(means, spectra);
  const int64_t points = spectra[0].numel();
  GaussianMixture field;
  field.log_weights_ = torch::zeros({1}, torch::kFloat64);
  field.means_ = means.to(torch::kFloat64).repeat_interleave(points).unsqueeze(0);
  field.variances_ = spectra.to(torch::kFloat64).reshape({1, -1});
  field.directions_ = Directions::waves(spectra.sizes().vec());
  return field;
}

GaussianMixture::Conditional GaussianMixture::condition(const torch::Tensor& x_t,
                                                        const NoiseLevel& level) const {
  if (x_t.dim() < 1 || dims_per_example(x_t) != dims()) {
    throw ShapeError("Gaussian mixture over " + std::to_string(dims()) +
                     " dimensions: x_t has shape " + shape_string(x_t.sizes()) + ".");
  }
  const auto x = x_t.reshape({x_t.size(0), 1, dims()}).to(torch::kFloat64);
  Conditional c;
  c.alpha = once_if_equal(broadcast_to_batch(level.alpha.to(torch::kFloat64), x));
  c.sigma = once_if_equal(broadcast_to_batch(level.sigma.to(torch::kFloat64), x));
  c.variances = c.alpha.square() * variances_ + c.sigma.square();
  c.y = directions_.to_modes(x - c.alpha * means_);
  c.residual = c.y / c.variances;
  if (!is_gaussian()) c.responsibilities = torch::softmax(log_joint(c), 1).unsqueeze(-1);
  return c;
}

// (B, K): log w_k N(x_t)
torch::Tensor GaussianMixture::log_joint(const Conditional& c) const {
  const double log_two_pi = std::log(2.0 * std::numbers::pi);
  return log_weights_ - 0.5 * (c.y * c.residual + c.variances.log() + log_two_pi).sum(-1);
}

// (B, D): the mean of the components' own, (B, K, D), given x_t.
torch::Tensor GaussianMixture::expected(const Conditional& c,
                                        const torch::Tensor& of_components) const {
  return is_gaussian() ? of_components.squeeze(1) : (c.responsibilities * of_components).sum(1);
}

torch::Tensor GaussianMixture::log_density(const torch::Tensor& x_t,
                                           const NoiseLevel& level) const {
  return torch::logsumexp(log_joint(condition(x_t, level)), 1);
}

torch::Tensor GaussianMixture::score(const torch::Tensor& x_t, const NoiseLevel& level) const {
  const auto c = condition(x_t, level);
  const auto score = -expected(c, directions_.from_modes(c.residual));
  return score.to(x_t.scalar_type()).view_as(x_t);
}

Denoised GaussianMixture::denoise(const torch::Tensor& x_t, const NoiseLevel& level) const {
  const auto c = condition(x_t, level);
  const auto eps = expected(c, directions_.from_modes(c.sigma * c.residual));
  const auto x0 = expected(c, means_ + directions_.from_modes(c.alpha * variances_ * c.residual));
  return {x0.to(x_t.scalar_type()).view_as(x_t), eps.to(x_t.scalar_type()).view_as(x_t)};
}

torch::Tensor GaussianMixture::hessian(const torch::Tensor& x_t, const NoiseLevel& level) const {
  const auto c = condition(x_t, level);
  const auto scores = -directions_.from_modes(c.residual);  // (B, K, D), of each component
  const auto spread = scores - expected(c, scores).unsqueeze(1);
  const auto weights = c.weights();
  const auto curvature =
      torch::einsum("bk,kij,bkj,klj->bil", {weights, basis(), c.variances.reciprocal(), basis()});
  return torch::einsum("bk,bki,bkj->bij", {weights, spread, spread}) - curvature;
}

torch::Tensor GaussianMixture::log_posterior(const torch::Tensor& x0, const torch::Tensor& x_t,
                                             const NoiseLevel& level) const {
  check_same_shape(x0, x_t, "mixture posterior of x0 given x_t");
  const auto c = condition(x_t, level);
  const auto x = x0.reshape({x0.size(0), 1, dims()}).to(torch::kFloat64);
  // Each component's posterior is N(m_k + U_k alpha L_k y_k / v_k, U_k
  // diag(L_k sigma^2 / v_k) U_k^T).
  const auto y0 = directions_.to_modes(x - means_);
  const auto within = variances_ * c.sigma.square() / c.variances;
  const auto gap = y0 - c.alpha * variances_ * c.residual;
  const double log_two_pi = std::log(2.0 * std::numbers::pi);
  const auto log_component = -0.5 * (gap.square() / within + within.log() + log_two_pi).sum(-1);
  return torch::logsumexp(torch::log_softmax(log_joint(c), 1) + log_component, 1);
}

torch::Tensor GaussianMixture::posterior_covariance(const torch::Tensor& x_t,
                                                    const NoiseLevel& level) const {
  const auto c = condition(x_t, level);
  const auto component_x0 = means_ + directions_.from_modes(c.alpha * variances_ * c.residual);
  const auto spread = component_x0 - expected(c, component_x0).unsqueeze(1);
  const auto within = variances_ * c.sigma.square() / c.variances;
  const auto weights = c.weights();
  return torch::einsum("bk,bki,bkj->bij", {weights, spread, spread}) +
         torch::einsum("bk,kij,bkj,klj->bil", {weights, basis(), within, basis()});
}

torch::Tensor GaussianMixture::sample(const RandomKey& key,
                                      const std::vector<int64_t>& slots) const {
  // One row of normals a slot: the first picks the component through its distribution function.
  const auto draws = normal_for_slots(key, slots, {dims() + 1}, torch::kFloat64);
  const auto u = torch::special_ndtr(draws.select(1, 0).contiguous());
  const auto cumulative = log_weights_.exp().cumsum(0);
  const auto k = torch::searchsorted(cumulative, u, false, true).clamp_max(components() - 1);
  const auto scaled = variances_.sqrt().index_select(0, k) * draws.slice(1, 1);
  const auto centred = is_gaussian()
                           ? directions_.from_modes(scaled.unsqueeze(1)).squeeze(1)
                           : torch::einsum("bij,bj->bi", {basis().index_select(0, k), scaled});
  return means_.index_select(0, k) + centred;
}

torch::Tensor GaussianMixture::mean() const {
  return (log_weights_.exp().unsqueeze(-1) * means_).sum(0);
}

torch::Tensor GaussianMixture::covariance() const {
  const auto w = log_weights_.exp();
  const auto spread = means_ - mean();
  return torch::einsum("k,ki,kj->ij", {w, spread, spread}) +
         torch::einsum("k,kij,kj,klj->il", {w, basis(), variances_, basis()});
}

bool ScoreErrors::any() const {
  const auto nonzero = [](const torch::Tensor& x) {
    return x.defined() && x.ne(0).any().item<bool>();
  };
  return score_scale != 1.0 || nonzero(linear) || nonzero(offset);
}

namespace {

void check_errors(const ScoreErrors& errors, int64_t dims) {
  if (errors.linear.defined() && errors.linear.sizes() != c10::IntArrayRef{dims, dims}) {
    throw ShapeError("model.score_linear has shape " + shape_string(errors.linear.sizes()) +
                     ", expected " + shape_string({dims, dims}) + ": D * D numbers, row-major.");
  }
  if (errors.offset.defined() && errors.offset.sizes() != c10::IntArrayRef{dims}) {
    throw ShapeError("model.score_offset has shape " + shape_string(errors.offset.sizes()) +
                     ", expected " + shape_string({dims}) + ".");
  }
}

// A x + c, in x's shape.
torch::Tensor affine_error(const ScoreErrors& errors, const torch::Tensor& x) {
  auto error = torch::zeros_like(x.flatten(1));
  if (errors.linear.defined()) {
    error = error + torch::matmul(x.flatten(1), errors.linear.to(x.scalar_type()).t());
  }
  if (errors.offset.defined()) error = error + errors.offset.to(x.scalar_type());
  return error.view_as(x);
}

}  // namespace

Denoiser make_mixture_denoiser(std::shared_ptr<const GaussianMixture> mixture,
                               const ScoreErrors& errors) {
  check_errors(errors, mixture->dims());
  if (!errors.any()) {
    return [mixture](const torch::Tensor& x_t, const NoiseLevel& level) {
      return mixture->denoise(x_t, level);
    };
  }
  return [mixture, errors](const torch::Tensor& x_t, const NoiseLevel& level) -> Denoised {
    const auto x = x_t.to(torch::kFloat64);
    const auto exact = mixture->denoise(x, level);
    const auto error = affine_error(errors, x);
    const auto sigma = broadcast_to_batch(level.sigma, x);
    const auto alpha = broadcast_to_batch(level.alpha, x);
    const auto eps = errors.score_scale * exact.eps - sigma * error;
    const auto x0 =
        exact.x0 + (sigma / alpha) * (sigma * error - (errors.score_scale - 1) * exact.eps);
    return {x0.to(x_t.scalar_type()), eps.to(x_t.scalar_type())};
  };
}

}  // namespace scorenet::diffusion
