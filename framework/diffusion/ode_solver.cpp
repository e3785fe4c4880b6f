#include "framework/diffusion/ode_solver.hpp"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <string>

#include "framework/core/error.hpp"

namespace scorenet::diffusion {
namespace {

// Dormand & Prince 1980, table 2; the last stage of a step is the first of the next.
constexpr int kStages = 7;
constexpr std::array<double, kStages> kNode = {0, 1.0 / 5, 3.0 / 10, 4.0 / 5, 8.0 / 9, 1, 1};
constexpr std::array<std::array<double, kStages - 1>, kStages> kStage = {{
    {},
    {1.0 / 5},
    {3.0 / 40, 9.0 / 40},
    {44.0 / 45, -56.0 / 15, 32.0 / 9},
    {19372.0 / 6561, -25360.0 / 2187, 64448.0 / 6561, -212.0 / 729},
    {9017.0 / 3168, -355.0 / 33, 46732.0 / 5247, 49.0 / 176, -5103.0 / 18656},
    {35.0 / 384, 0, 500.0 / 1113, 125.0 / 192, -2187.0 / 6784, 11.0 / 84},
}};
// Fifth-order weights minus the embedded fourth-order ones.
constexpr std::array<double, kStages> kError = {
    71.0 / 57600, 0, -71.0 / 16695, 71.0 / 1920, -17253.0 / 339200, 22.0 / 525, -1.0 / 40};

struct Step {
  at::Tensor y;         // (b, S)
  at::Tensor last_rhs;  // (b, S)
  at::Tensor error;     // (b) norm
};

at::Tensor error_norm(const at::Tensor& error, const at::Tensor& y, const at::Tensor& y_next,
                      const OdeOptions& options) {
  const at::Tensor scale = at::maximum(y.abs(), y_next.abs()).mul(options.rtol).add(options.atol);
  return (error / scale).square().mean(1).sqrt();
}

Step try_step(const OdeRhs& rhs, const at::Tensor& rows, const at::Tensor& time,
              const at::Tensor& dt, const at::Tensor& y, const at::Tensor& first_rhs,
              const OdeOptions& options) {
  const at::Tensor step = dt.unsqueeze(1);
  std::array<at::Tensor, kStages> k;
  k[0] = first_rhs;
  at::Tensor y_stage = y;
  for (size_t stage = 1; stage < kStages; ++stage) {
    at::Tensor slope = k[0] * kStage[stage][0];
    for (size_t j = 1; j < stage; ++j) slope = at::add(slope, k[j], kStage[stage][j]);
    y_stage = y + step * slope;
    k[stage] = rhs(rows, time + dt * kNode[stage], y_stage);
  }
  at::Tensor error = k[0] * kError[0];
  for (size_t j = 1; j < kStages; ++j) error = at::add(error, k[j], kError[j]);
  return {y_stage, k[kStages - 1], error_norm(step * error, y, y_stage, options)};
}

// Elementary controller: the error of a step goes with its fifth power. NaN asks for
// the smallest factor.
at::Tensor step_factor(const at::Tensor& error) {
  return error.clamp_min(1e-10).pow(-0.2).mul(0.9).clamp(0.2, 5.0).nan_to_num(0.2);
}

void check_tolerance(double value, const char* name) {
  if (value > 0) return;
  throw ConfigError(std::string(name) + " = " + std::to_string(value) +
                    ": must be > 0. Use a tolerance such as 1e-5.");
}

}  // namespace

OdeOptions with_tolerances(double rtol, double atol, double usual) {
  const double both = rtol != 0 ? rtol : atol != 0 ? atol : usual;
  return {rtol != 0 ? rtol : both, atol != 0 ? atol : both};
}

OdeSolution dormand_prince(const OdeRhs& rhs, double t_start, double t_end,
                           const torch::Tensor& y_start, const OdeOptions& options) {
  check_tolerance(options.rtol, "rtol");
  check_tolerance(options.atol, "atol");
  const int64_t batch = y_start.size(0);
  const double span = t_end - t_start;
  const auto f64 = y_start.options();
  const at::Tensor all = at::arange(batch, f64.dtype(at::kLong));
  at::Tensor y = y_start.clone();
  at::Tensor time = at::full({batch}, t_start, f64);
  at::Tensor dt = at::full({batch}, span / 50, f64);
  at::Tensor first_rhs = rhs(all, time, y);
  at::Tensor evaluations = at::ones({batch}, f64.dtype(at::kLong));
  at::Tensor failed = at::zeros({batch}, f64.dtype(at::kBool));
  // Below this the time no longer advances in float64.
  const double smallest = 1e-14 * std::max({std::abs(span), std::abs(t_start), std::abs(t_end)});

  at::Tensor rows = all;
  for (int64_t attempt = 0; rows.numel() > 0; ++attempt) {
    const at::Tensor t = time.index_select(0, rows);
    const at::Tensor left = t_end - t;
    const at::Tensor wanted = dt.index_select(0, rows);
    const at::Tensor is_last = wanted.abs() >= left.abs();
    const at::Tensor step = at::where(is_last, left, wanted);
    const at::Tensor y_now = y.index_select(0, rows);
    const Step next = try_step(rhs, rows, t, step, y_now, first_rhs.index_select(0, rows), options);
    evaluations.index_add_(0, rows, at::full_like(rows, kStages - 1));

    const at::Tensor accepted = next.error <= 1;  // false where NaN
    const at::Tensor accepted_column = accepted.unsqueeze(1);
    y.index_copy_(0, rows, at::where(accepted_column, next.y, y_now));
    first_rhs.index_copy_(
        0, rows, at::where(accepted_column, next.last_rhs, first_rhs.index_select(0, rows)));
    time.index_copy_(0, rows, at::where(accepted, t + step, t));
    const at::Tensor proposed = step * step_factor(next.error);
    dt.index_copy_(0, rows, proposed);

    const at::Tensor done = accepted & is_last;
    at::Tensor stuck = ~done & (proposed.abs() < smallest);
    if (attempt + 1 >= options.max_steps) stuck = ~done;
    failed.index_copy_(0, rows, stuck);
    rows = rows.masked_select(~(done | stuck));
  }
  y.masked_fill_(failed.unsqueeze(1), std::nan(""));
  return {y, evaluations, failed};
}

torch::Tensor runge_kutta4_step(const BatchRhs& rhs, double t, double dt, const torch::Tensor& y) {
  const at::Tensor k1 = rhs(t, y);
  const at::Tensor k2 = rhs(t + dt / 2, at::add(y, k1, dt / 2));
  const at::Tensor k3 = rhs(t + dt / 2, at::add(y, k2, dt / 2));
  const at::Tensor k4 = rhs(t + dt, at::add(y, k3, dt));
  return at::add(y, k1 + 2 * k2 + 2 * k3 + k4, dt / 6);
}

OdeSolution runge_kutta4(const OdeRhs& rhs, double t_start, double t_end,
                         const torch::Tensor& y_start, int64_t steps) {
  const int64_t batch = y_start.size(0);
  const at::Tensor rows = at::arange(batch, y_start.options().dtype(at::kLong));
  const BatchRhs batch_rhs = [&](double t, const torch::Tensor& y) {
    return rhs(rows, at::full({batch}, t, y_start.options()), y);
  };
  const double dt = (t_end - t_start) / static_cast<double>(steps);
  at::Tensor y = y_start;
  for (int64_t i = 0; i < steps; ++i) {
    y = runge_kutta4_step(batch_rhs, t_start + static_cast<double>(i) * dt, dt, y);
  }
  return {y, at::full_like(rows, 4 * steps), ~at::isfinite(y).all(1)};
}

OdeSolution integrate(const OdeRhs& rhs, double t_start, double t_end, const torch::Tensor& y_start,
                      int64_t steps, const OdeOptions& options) {
  if (steps < 0) {
    throw ConfigError("ODE steps = " + std::to_string(steps) +
                      ": must be at least 0 (0 is adaptive).");
  }
  if (steps == 0) return dormand_prince(rhs, t_start, t_end, y_start, options);
  return runge_kutta4(rhs, t_start, t_end, y_start, steps);
}

}  // namespace scorenet::diffusion
