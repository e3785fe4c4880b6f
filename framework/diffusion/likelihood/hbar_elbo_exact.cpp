// -ELBO_h by moments: the paths of an affine drift are Gaussian. See hbar_elbo.hpp.
//
// With eps_hat(x) = e + J (x - m) about the mean m of X, L = log_snr as time (it falls),
// c = sigma / 2:
//     dm/dL = a m - (1 - h) c e,   dC/dL = M C + C M^T - h sigma^2 I,   M = a I - (1 - h) c J,
//     d path/dL = D a - (1 + h) c tr J + h / 2 (|e|^2 + tr(J C J^T)),
// m = x, C = 0, path = 0 at t_min; Ito's form, whose dw term has mean zero.
#include <torch/utils.h>

#include <functional>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/diffusion/likelihood/exactness.hpp"
#include "framework/diffusion/likelihood/hbar_elbo.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/diffusion/likelihood/probability_flow.hpp"
#include "framework/diffusion/likelihood/quadrature.hpp"
#include "framework/diffusion/ode_solver.hpp"
#include "framework/diffusion/rows_of_batch.hpp"

namespace scorenet::diffusion {
namespace {

// Where the tangent is compared, in standard deviations of X: along each axis of the spread, and in
// no particular directions.
torch::Tensor spread_points(int64_t dims) {
  const auto axes = torch::eye(dims, torch::kFloat64);
  const NoiseChords chords = noise_chords(dims);
  return torch::cat({axes, -axes, 3 * axes, -3 * axes, 6 * axes, -6 * axes, chords.a});
}

// The symmetric root of each C (b, D, D); what is not finite or not positive counts as no spread.
torch::Tensor root_of(const torch::Tensor& covariance) {
  const auto finite = torch::isfinite(covariance).flatten(1).all(1).view({-1, 1, 1});
  const auto [values, vectors] =
      torch::linalg_eigh(torch::where(finite, covariance, torch::zeros_like(covariance)));
  return torch::matmul(vectors * values.clamp_min(0).sqrt().unsqueeze(1), vectors.transpose(1, 2));
}

// The state of an example, packed as (b, D + 1 + D^2): mean, path, covariance.
class MomentFlow {
 public:
  MomentFlow(const Denoiser& denoiser, const Schedule& schedule, const torch::Tensor& x,
             double hbar, const HbarShape& hbar_shape, bool whole_batch)
      : denoiser_(denoiser),
        schedule_(schedule),
        x_(x),
        hbar_(hbar),
        hbar_shape_(hbar_shape),
        whole_batch_(whole_batch),
        dims_(dims_per_example(x)),
        points_(spread_points(dims_)) {
    shape_ = x.sizes().vec();
    shape_[0] = -1;
  }

  torch::Tensor start() const {
    const auto mean = x_.to(torch::kCPU, torch::kFloat64).flatten(1);
    return torch::constant_pad_nd(mean, {0, 1 + dims_ * dims_});
  }

  torch::Tensor operator()(const torch::Tensor& rows, const torch::Tensor& log_snr,
                           const torch::Tensor& y) const {
    const FlowLevel at = flow_level(schedule_, log_snr);
    const auto mean = y.slice(1, 0, dims_);
    const auto covariance = y.slice(1, dims_ + 1).reshape({-1, dims_, dims_});
    const Denoiser denoiser =
        whole_batch_ ? denoiser_of_rows(denoiser_, rows, x_.size(0)) : denoiser_;
    const auto jacobian = whole_batch_ ? eps_jacobian_by_dimension : eps_jacobian_exact;
    const EpsJacobian tangent = jacobian(denoiser, mean.reshape(shape_), at.level);
    const auto eps = tangent.eps.flatten(1);
    require_affine(denoiser, rows, at.level, mean, covariance, eps, tangent.jacobian);

    const auto hbar = diffusion::hbar_at(hbar_shape_, hbar_, at.t);
    const auto a = at.linear.unsqueeze(1), c = at.half_sigma.unsqueeze(1);
    const auto kept = (1 - hbar).unsqueeze(1) * c;
    const auto identity = torch::eye(dims_, torch::kFloat64);
    const auto drift = a.unsqueeze(2) * identity - kept.unsqueeze(2) * tangent.jacobian;
    const auto m_c = torch::matmul(drift, covariance);
    const auto noise = (4 * hbar * at.half_sigma.square()).view({-1, 1, 1}) * identity;
    const auto spread =
        (torch::matmul(tangent.jacobian, covariance) * tangent.jacobian).sum({1, 2});
    const auto trace = tangent.jacobian.diagonal(0, 1, 2).sum(1);
    const auto path = static_cast<double>(dims_) * at.linear - (1 + hbar) * at.half_sigma * trace +
                      hbar / 2 * (eps.square().sum(1) + spread);
    return torch::cat(
        {a * mean - kept * eps, path.unsqueeze(1), (m_c + m_c.transpose(1, 2) - noise).flatten(1)},
        1);
  }

 private:
  // eps_hat at several points of each example, z (b, points, D), in the same shape: in one call, or
  // one for each point of all where the denoiser knows an example by its place.
  torch::Tensor eps_at(const Denoiser& denoiser, const torch::Tensor& z,
                       const NoiseLevel& level) const {
    const auto eps = [&](const torch::Tensor& at, const NoiseLevel& there) {
      return denoiser(at.reshape(shape_), there).eps.to(torch::kFloat64);
    };
    if (!whole_batch_) return eps(z, repeat_level(level, z.size(1))).reshape(z.sizes());
    std::vector<torch::Tensor> points;
    for (const torch::Tensor& point : z.unbind(1)) points.push_back(eps(point, level).flatten(1));
    return torch::stack(points, 1);
  }

  // eps_hat against its tangent at the mean, (b, points, D) over the spread.
  void require_affine(const Denoiser& denoiser, const torch::Tensor& rows, const NoiseLevel& level,
                      const torch::Tensor& mean, const torch::Tensor& covariance,
                      const torch::Tensor& eps, const torch::Tensor& jacobian) const {
    const auto offsets = torch::matmul(points_, root_of(covariance));
    const auto z = mean.unsqueeze(1) + offsets;
    const auto said = eps_at(denoiser, z, level);
    const auto tangent = eps.unsqueeze(1) + torch::matmul(offsets, jacobian.transpose(1, 2));
    const bool exact_type = x_.scalar_type() == torch::kFloat64;
    const auto size = 1 + said.abs().flatten(1).amax(1);
    const auto rounding = z.abs().flatten(1).amax(1) / level.sigma;
    const auto allowed =
        exact_type ? 1e-8 * size + 1e-14 * rounding : 1e-4 * size + 1e-6 * rounding;
    const auto bend = (said - tangent).abs().flatten(1).amax(1);
    const auto excess = (bend - allowed).nan_to_num(-1);  // a failed example bends no further
    const auto worst = excess.argmax().item<int64_t>();
    if (!(excess[worst].item<double>() > 0)) return;
    std::ostringstream what;
    what << "hbar-elbo at hbar > 0 needs an affine denoiser (one Gaussian) wherever its paths go, "
            "but over their spread at log_snr "
         << level.log_snr[worst].item<double>() << " this one deviates";
    refuse_exact(what.str(), bend[worst].item<double>(), allowed[worst].item<double>(), x_,
                 rows[worst].item<int64_t>(), "moments do not describe such paths");
  }

  const Denoiser& denoiser_;
  const Schedule& schedule_;
  const torch::Tensor& x_;
  double hbar_;
  const HbarShape& hbar_shape_;
  bool whole_batch_;
  int64_t dims_;
  torch::Tensor points_;
  std::vector<int64_t> shape_;
};

LikelihoodResult by_moments(const MomentFlow& flow, const Schedule& schedule, int64_t dims,
                            const SolverPrecision& precision) {
  const LogSnrRange range = log_snr_range(schedule);
  const OdeSolution end = integrate(std::cref(flow), range.clean, range.noisy, flow.start(),
                                    precision.steps, {precision.rtol, precision.atol});
  const auto covariance = end.y.slice(1, dims + 1).reshape({-1, dims, dims});
  const auto variance_sum = covariance.diagonal(0, 1, 2).sum(1);
  const auto prior = -log_prior(schedule, end.y.slice(1, 0, dims)) +
                     variance_sum / (2 * schedule.prior_variance());
  const auto path = -end.y.select(1, dims);
  LikelihoodResult result;
  result.kind = ResultKind::bound;
  result.nats = prior + path;
  result.terms = {{"prior", prior}, {"path", path}};
  result.nfe = end.evaluations.to(torch::kFloat64);
  return result;
}

}  // namespace

LikelihoodResult hbar_elbo_exact(const Denoiser& denoiser, const Schedule& schedule,
                                 const torch::Tensor& x, double hbar,
                                 const SolverPrecision& precision, const HbarShape& hbar_shape,
                                 bool whole_batch) {
  const torch::NoGradGuard no_grad;
  if (!(hbar >= 0)) {
    throw ConfigError("hbar likelihood: hbar = " + std::to_string(hbar) + ", must be at least 0.");
  }
  if (hbar == 0) {
    const std::vector<int64_t> one_slot_each(static_cast<size_t>(x.size(0)), 0);
    return ode_likelihood_exact(denoiser, schedule, x, one_slot_each, precision, whole_batch);
  }
  const MomentFlow flow(denoiser, schedule, x, hbar, hbar_shape, whole_batch);
  const int64_t dims = dims_per_example(x);
  LikelihoodResult result = by_moments(flow, schedule, dims, precision);
  const LikelihoodResult second = by_moments(flow, schedule, dims, precision.second());
  require_agreement("hbar-elbo", result.nats, second.nats, precision, x);
  result.nfe = result.nfe + second.nfe;
  return result;
}

}  // namespace scorenet::diffusion
