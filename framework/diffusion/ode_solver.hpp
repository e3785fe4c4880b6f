// Two solvers for y' = rhs(t, y) on a batch of independent problems.
//
// Dormand & Prince 1980, 5(4): every example has its own step size, error norm and end. So an
// example's result does not depend on the other examples, the batch size or the number of ranks.
// The classical RK4 with fixed steps has an error that is smooth in the data, which differences of
// solutions need, and a memory use that is known in advance.
#pragma once

#include <torch/types.h>

#include <functional>
#include <vector>

namespace scorenet::diffusion {

/// rows (b) int64: which examples of the batch are asked for; time (b) float64; y (b, S) float64.
/// Returns dy/dt (b, S).
using OdeRhs = std::function<torch::Tensor(const torch::Tensor& rows, const torch::Tensor& time,
                                           const torch::Tensor& y)>;

struct OdeOptions {
  double rtol = 1e-5;
  double atol = 1e-5;
  int64_t max_steps = 10'000;  // accepted and rejected steps of one example
};

/// Of tolerances as a user gives them, 0 where not: one that is not given is the other, since the
/// coarser of both decides; where neither is, both are `usual`.
OdeOptions with_tolerances(double rtol, double atol, double usual = OdeOptions{}.rtol);

struct OdeSolution {
  torch::Tensor y;            // (B, S) at the end; NaN where failed
  torch::Tensor evaluations;  // (B) int64: calls of rhs that each example took part in
  // (B) bool: a non-finite error norm at the smallest step, or max_steps reached
  torch::Tensor failed;
};

/// y(t_end) from y(t_start) = y_start (B, S) float64; t_end may lie on either side. An example's
/// error norm is the root mean square of error / (atol + rtol |y|) over its S components; a step is
/// accepted where it is <= 1. Throws ConfigError if a tolerance is not positive.
OdeSolution dormand_prince(const OdeRhs& rhs, double t_start, double t_end,
                           const torch::Tensor& y_start, const OdeOptions& options);

/// One classical Runge-Kutta step of y' = rhs(t, y) for the whole batch, time a scalar: 4
/// calls of rhs.
using BatchRhs = std::function<torch::Tensor(double time, const torch::Tensor& y)>;
torch::Tensor runge_kutta4_step(const BatchRhs& rhs, double t, double dt, const torch::Tensor& y);

/// `steps` equal Runge-Kutta steps of every row. An example failed if its result is not finite.
OdeSolution runge_kutta4(const OdeRhs& rhs, double t_start, double t_end,
                         const torch::Tensor& y_start, int64_t steps);

/// runge_kutta4 with `steps` steps, or dormand_prince where steps = 0. Throws ConfigError if
/// steps < 0.
OdeSolution integrate(const OdeRhs& rhs, double t_start, double t_end, const torch::Tensor& y_start,
                      int64_t steps, const OdeOptions& options);

}  // namespace scorenet::diffusion
