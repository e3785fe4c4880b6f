// One-dimensional integrals of many examples at once, each by two rules on every panel.
//
// Gauss's 7 points are among Kronrod's 15 (QUADPACK, Piessens et al. 1983, QK15). A panel on which
// the two rules differ by more than the tolerance is halved, for those examples only. The sum of
// the remaining differences is far above the error wherever the integrand is smooth on its panels.
#pragma once

#include <torch/types.h>

#include <functional>

namespace scorenet::diffusion {

/// The integral of f over [-1, 1] is about sum_i weights_i f(nodes_i). coarse_weights: a second
/// rule on the same nodes. All (n) float64.
struct PairedRule {
  torch::Tensor nodes;
  torch::Tensor weights;
  torch::Tensor coarse_weights;
};

/// Exact for polynomials of degree 22; the coarse rule for degree 13.
PairedRule gauss_kronrod();

/// The integrand of example rows[i] at the point at[i]. rows (P) int64, at (P) float64. Returns (P)
/// float64.
using ExampleIntegrand =
    std::function<torch::Tensor(const torch::Tensor& rows, const torch::Tensor& at)>;

struct AdaptiveIntegral {
  torch::Tensor value;                // (B) float64; NaN or infinite where the integrand is
  torch::Tensor error;                // (B): sum of |fine - coarse| over the panels
  torch::Tensor rows, middles, gaps;  // of every panel: its example, its middle, |fine - coarse|

  /// The middle of the panel of example `row` with the largest gap.
  double worst_at(int64_t row) const;
};

/// The integral of f from low to high for `batch` examples. The first panels are at most `widest`
/// wide. A panel is halved until its two rules differ by less than tolerance (1 + int |f|). An
/// example with too many panels is refined no further: the caller checks `error`.
AdaptiveIntegral integrate_on_panels(const ExampleIntegrand& f, double low, double high,
                                     int64_t batch, double widest, double tolerance);

}  // namespace scorenet::diffusion
