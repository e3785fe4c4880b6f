#include "framework/diffusion/parametrisation.hpp"

#include <array>
#include <utility>

#include "framework/core/check.hpp"
#include "framework/diffusion/names.hpp"

namespace scorenet::diffusion {
namespace {

constexpr std::array<std::pair<const char*, Prediction>, 5> kNames{{{"x0", Prediction::x0},
                                                                    {"eps", Prediction::eps},
                                                                    {"v", Prediction::v},
                                                                    {"score", Prediction::score},
                                                                    {"F", Prediction::F}}};

// a x + b y with per-example float64 coefficients that are rounded once, to the tensors' own dtype.
torch::Tensor mix(const torch::Tensor& a, const torch::Tensor& x, const torch::Tensor& b,
                  const torch::Tensor& y) {
  const auto fit = [&](const torch::Tensor& c) { return broadcast_to_batch(c.to(x.options()), x); };
  return fit(a) * x + fit(b) * y;
}

// sigma^2 + sigma_data^2 alpha^2
torch::Tensor noisy_variance(double sigma_data, const NoiseLevel& level) {
  return level.sigma.square() + sigma_data * sigma_data * level.alpha.square();
}

Denoised from_v(const torch::Tensor& v, const torch::Tensor& x_t, const NoiseLevel& level) {
  const auto s = level.alpha.square() + level.sigma.square();
  const auto a = level.alpha / s;
  const auto b = level.sigma / s;
  return {mix(a, x_t, -b, v), mix(b, x_t, a, v)};
}

Denoised from_F(double sigma_data, const torch::Tensor& f, const torch::Tensor& x_t,
                const NoiseLevel& level) {
  const auto n = noisy_variance(sigma_data, level);
  const auto scale = sigma_data / n.sqrt();
  return {mix(sigma_data * sigma_data * level.alpha / n, x_t, level.sigma * scale, f),
          mix(level.sigma / n, x_t, -level.alpha * scale, f)};
}

}  // namespace

std::vector<std::string> prediction_names() {
  std::vector<std::string> names;
  for (const auto& entry : kNames) names.emplace_back(entry.first);
  return names;
}

Prediction prediction_from_name(const std::string& name) {
  std::string known;
  for (const auto& [text, prediction] : kNames) {
    if (name == text) return prediction;
    known += std::string(" ") + text;
  }
  throw ConfigError("diffusion.prediction = \"" + name + "\": expected one of" + known + ".");
}

std::string name_of(Prediction prediction) {
  for (const auto& [text, known] : kNames) {
    if (prediction == known) return text;
  }
  throw ConfigError("unknown prediction number " + std::to_string(static_cast<int>(prediction)) +
                    ".");
}

Denoised denoised_from(const Parametrisation& parametrisation, const torch::Tensor& prediction,
                       const torch::Tensor& x_t, const NoiseLevel& level) {
  check_same_shape(x_t, prediction, "prediction of " + name_of(parametrisation.prediction));
  const auto p = prediction.to(x_t.scalar_type());
  const auto one_over = [](const torch::Tensor& c) { return c.reciprocal(); };
  switch (parametrisation.prediction) {
    case Prediction::x0:
      return {p, mix(one_over(level.sigma), x_t, -level.alpha / level.sigma, p)};
    case Prediction::eps:
      return {mix(one_over(level.alpha), x_t, -level.sigma / level.alpha, p), p};
    case Prediction::score:
      return {mix(one_over(level.alpha), x_t, level.sigma.square() / level.alpha, p),
              broadcast_to_batch(-level.sigma.to(p.options()), p) * p};
    case Prediction::v:
      return from_v(p, x_t, level);
    case Prediction::F:
      break;
  }
  return from_F(parametrisation.sigma_data, p, x_t, level);
}

torch::Tensor target_from(const Parametrisation& parametrisation, const torch::Tensor& x0,
                          const torch::Tensor& eps, const NoiseLevel& level) {
  check_same_shape(x0, eps, "x0 and eps");
  switch (parametrisation.prediction) {
    case Prediction::x0:
      return x0;
    case Prediction::eps:
      return eps;
    case Prediction::score:
      return score_from_eps(eps, level);
    case Prediction::v:
      return mix(level.alpha, eps, -level.sigma, x0);
    case Prediction::F:
      break;
  }
  const double sd = parametrisation.sigma_data;
  const auto root = noisy_variance(sd, level).sqrt();
  return mix(level.sigma / (sd * root), x0, -sd * level.alpha / root, eps);
}

torch::Tensor eps_error_ratio(const Parametrisation& parametrisation, const NoiseLevel& level) {
  const double sd = parametrisation.sigma_data;
  switch (parametrisation.prediction) {
    case Prediction::x0:
      return (level.alpha / level.sigma).square();
    case Prediction::eps:
      return torch::ones_like(level.alpha);
    case Prediction::score:
      return level.sigma.square();
    case Prediction::v:
      return (level.alpha / (level.alpha.square() + level.sigma.square())).square();
    case Prediction::F:
      break;
  }
  return level.alpha.square() * (sd * sd) / noisy_variance(sd, level);
}

torch::Tensor score_from_eps(const torch::Tensor& eps, const NoiseLevel& level) {
  return broadcast_to_batch(-level.sigma.reciprocal().to(eps.options()), eps) * eps;
}

torch::Tensor add_noise(const torch::Tensor& x0, const torch::Tensor& eps,
                        const NoiseLevel& level) {
  check_same_shape(x0, eps, "x0 and eps");
  return mix(level.alpha, x0, level.sigma, eps);
}

}  // namespace scorenet::diffusion
