// Analytic models as a user writes them, and what is known of Gaussian data in closed form.
//
// Data: independent coordinates N(m, s^2); score s(x) = k grad log p_t(x), prior N(0, P) at t_max.
// With w(t) = s^2 + 1 / snr(t), index 0 at t_min and 1 at t_max, v = alpha^2 w the marginal
// variance, q = (1 + h) k:
//
// Law of the reverse family at t_min. Mean M and variance V obey, with L = log_snr as time and
// a = d log alpha / dL,
//     dM/dL = a M - q/2 (sigma^2 / v) (M - alpha m),
//     dV/dL = (2 a - q sigma^2 / v) V + h sigma^2.
// From v: sigma^2 / v dL = -d log w (since dw = -dL / snr and sigma^2 / v = 1 / (snr w)). So with
// M / alpha and V / alpha^2
//     M = alpha_0 m (1 - r^{q/2}),   r = w_0 / w_1,
//     V = alpha_0^2 [(P / alpha_1^2) r^q + h w_0^q int_{w_0}^{w_1} w^-q dw]
// and NLL(h) = 1/2 log(2 pi V) + (x - M)^2 / (2 V). At h = 0 the law of the probability-flow ODE.
//
// Diffusion term (k = 1): eps - eps_hat = (alpha^2 s^2 / v) eps - (sigma alpha / v) (x - m), so
// with u = 1 + snr s^2
//     1/2 int E|eps - eps_hat|^2 dL = 1/2 int [snr s^4 + (x - m)^2] / u^2 d snr
//                                   = 1/2 [log u + 1/u - (x - m)^2 / (s^2 u)].
#pragma once

#include <torch/types.h>

#include <cmath>
#include <fstream>
#include <numbers>
#include <string>
#include <vector>

#include "framework/data/hdf5.hpp"
#include "framework/diffusion/schedule.hpp"
#include "tests/framework/diffusion/support.hpp"
#include "tests/launch/program.hpp"

namespace scorenet::test {

inline const std::vector<std::string> kSchedules = {
    "vp_linear", "vp_cosine", "vdm_linear",  "ve",      "subvp",
    "edm",       "flow",      "vp_constant", "vp_ramp", "vp_tan"};

/// A schedule's ends as plain numbers.
struct Ends {
  double alpha0, sigma0, alpha1, sigma1, prior;
  double snr0() const { return alpha0 * alpha0 / (sigma0 * sigma0); }
  double snr1() const { return alpha1 * alpha1 / (sigma1 * sigma1); }
};

inline Ends ends_of(const diffusion::Schedule& schedule) {
  const auto at0 = schedule.at(schedule.t_min(), 1), at1 = schedule.at(schedule.t_max(), 1);
  return {at0.alpha.item<double>(), at0.sigma.item<double>(), at1.alpha.item<double>(),
          at1.sigma.item<double>(), schedule.prior_variance()};
}

/// One coordinate of the data's law.
struct Normal {
  double mean, variance;
};

struct Law {
  double mean, variance;
};

inline Law reverse_law(const Normal& data, const Ends& e, double hbar, double scale) {
  const double w0 = data.variance + 1 / e.snr0(), w1 = data.variance + 1 / e.snr1();
  const double q = (1 + hbar) * scale, r = w0 / w1;
  // int w^-q dw, a logarithm at q = 1.
  const double grown = std::abs(q - 1) < 1e-12
                           ? std::log(w1 / w0)
                           : (std::pow(w1, 1 - q) - std::pow(w0, 1 - q)) / (1 - q);
  const double variance =
      e.prior / (e.alpha1 * e.alpha1) * std::pow(r, q) + hbar * std::pow(w0, q) * grown;
  return {e.alpha0 * data.mean * (1 - std::pow(r, q / 2)), e.alpha0 * e.alpha0 * variance};
}

inline double normal_nats(double x, const Law& law) {
  return 0.5 * (std::log(2 * std::numbers::pi * law.variance) +
                (x - law.mean) * (x - law.mean) / law.variance);
}

/// -log q^h(x) of the reverse family at t_min.
inline double reverse_nats(double x, const Normal& data, const Ends& e, double hbar, double scale) {
  return normal_nats(x, reverse_law(data, e, hbar, scale));
}

/// Its derivative in h at 0: dV = alpha_0^2 [(P / alpha_1^2) r^k k log r + w_0^k int w^-k dw],
/// dM = -alpha_0 m r^{k/2} (k/2) log r, dNLL = dV / (2 V) - (x - M) dM / V - (x - M)^2
/// dV / (2 V^2).
inline double reverse_slope(double x, const Normal& data, const Ends& e, double scale) {
  const double w0 = data.variance + 1 / e.snr0(), w1 = data.variance + 1 / e.snr1(), r = w0 / w1;
  const double grown = std::abs(scale - 1) < 1e-12
                           ? std::log(w1 / w0)
                           : (std::pow(w1, 1 - scale) - std::pow(w0, 1 - scale)) / (1 - scale);
  const double d_variance =
      e.alpha0 * e.alpha0 *
      (e.prior / (e.alpha1 * e.alpha1) * std::pow(r, scale) * scale * std::log(r) +
       std::pow(w0, scale) * grown);
  const double d_mean = -e.alpha0 * data.mean * std::pow(r, scale / 2) * scale / 2 * std::log(r);
  const Law law = reverse_law(data, e, 0, scale);
  const double gap = x - law.mean;
  return d_variance / (2 * law.variance) - gap * d_mean / law.variance -
         gap * gap * d_variance / (2 * law.variance * law.variance);
}

/// The diffusion term with the exact denoiser.
inline double diffusion_nats(double x, const Normal& data, const Ends& e) {
  const double gap = (x - data.mean) * (x - data.mean) / data.variance;
  const auto antiderivative = [&](double snr) {
    const double u = 1 + snr * data.variance;
    return 0.5 * (std::log(u) + 1 / u - gap / u);
  };
  return antiderivative(e.snr0()) - antiderivative(e.snr1());
}

/// The bound with the flat decoder: 1/2 [(alpha_1 x)^2 / P + r - 1 - log r] + diffusion + 1/2
/// log(2 pi e / snr_0), r = sigma_1^2 / P.
inline double elbo_nats(double x, const Normal& data, const Ends& e) {
  const double r = e.sigma1 * e.sigma1 / e.prior, shrunk = e.alpha1 * x;
  return 0.5 * (shrunk * shrunk / e.prior + r - 1 - std::log(r)) + diffusion_nats(x, data, e) +
         0.5 * std::log(2 * std::numbers::pi * std::numbers::e / e.snr0());
}

/// The truncated I-MMSE form: 1/2 log(2 pi e) - 1/2 log((1 + snr_0) / (1 + snr_1)) + diffusion.
inline double immse_nats(double x, const Normal& data, const Ends& e) {
  return 0.5 * std::log(2 * std::numbers::pi * std::numbers::e) -
         0.5 * std::log((1 + e.snr0()) / (1 + e.snr1())) + diffusion_nats(x, data, e);
}

/// Sum of f(x_d, law_d) over the coordinates of each row of points (n, D).
template <class F>
torch::Tensor over_coordinates(const torch::Tensor& points, const std::vector<Normal>& laws, F f) {
  auto sums = torch::zeros({points.size(0)}, torch::kFloat64);
  for (int64_t i = 0; i < points.size(0); ++i) {
    for (size_t d = 0; d < laws.size(); ++d)
      sums[i] += f(points[i][static_cast<int64_t>(d)].template item<double>(), laws[d]);
  }
  return sums;
}

// ---- files ----

inline void write_points(const std::string& path, const torch::Tensor& points) {
  auto file = data::Hdf5File::create(path);
  file.write_array("/test/images", points);
  file.close();
}

inline torch::Tensor read_array(const std::string& path, const std::string& name) {
  return data::Hdf5File::open(path).array(name).read_all(torch::kFloat64);
}

inline void write_mixture(const std::string& path, const torch::Tensor& weights,
                          const torch::Tensor& means, const torch::Tensor& covariances) {
  auto file = data::Hdf5File::create(path);
  file.write_array("/weights", weights);
  file.write_array("/means", means);
  file.write_array("/covariances", covariances);
  file.close();
}

/// Independent coordinates as a mixture of one component.
inline void write_gaussian(const std::string& path, const std::vector<Normal>& laws) {
  const auto dims = static_cast<int64_t>(laws.size());
  auto means = torch::zeros({1, dims}, torch::kFloat64);
  auto covariances = torch::zeros({1, dims, dims}, torch::kFloat64);
  for (int64_t d = 0; d < dims; ++d) {
    means[0][d] = laws[static_cast<size_t>(d)].mean;
    covariances[0][d][d] = laws[static_cast<size_t>(d)].variance;
  }
  write_mixture(path, torch::ones({1}, torch::kFloat64), means, covariances);
}

/// A config of the mixture in `file`; `errors` are further lines of [model].
inline void write_config(const std::string& path, const std::string& file,
                         const std::string& schedule, const std::string& errors = "") {
  std::ofstream(path) << "[model]\ntype = \"gaussian_mixture\"\nfile = \"" << file << "\"\n"
                      << errors << "\n[diffusion]\nschedule = \"" << schedule << "\"\n";
}

/// n fixed points spread over the law, (n, D).
inline torch::Tensor points_of(const std::vector<Normal>& laws, int64_t n) {
  auto points = torch::empty({n, static_cast<int64_t>(laws.size())}, torch::kFloat64);
  for (int64_t i = 0; i < n; ++i) {
    for (size_t d = 0; d < laws.size(); ++d) {
      const double turn = static_cast<double>(i) + 0.37 * static_cast<double>(d);
      points[i][static_cast<int64_t>(d)] =
          laws[d].mean + 2 * std::sin(1 + 2.4 * turn) * std::sqrt(laws[d].variance);
    }
  }
  return points;
}

}  // namespace scorenet::test
