// One-dimensional integrals of many examples at once, each by two rules on every panel.
//
// Gauss's 7 and Kronrod's 15 points share their nodes (QUADPACK, Piessens et al. 1983, QK15). A
// panel where they differ by more than the tolerance is halved, for the examples that ask for it
// alone; the sum of what is left of the differences bounds the error from far above wherever the
// integrand is smooth on its panels.
#pragma once

#include <torch/types.h>

#include <functional>

namespace scorenet::diffusion {

/// integral f over [-1, 1] = sum_i weights_i f(nodes_i); coarse_weights: a second rule on the same
/// nodes. (n) float64.
struct PairedRule {
  torch::Tensor nodes;
  torch::Tensor weights;
  torch::Tensor coarse_weights;
};

/// Exact for degree 22, its coarse one for degree 13.
PairedRule gauss_kronrod();

/// rows (P) int64: whose integrand; at (P) float64: where. Returns (P) float64.
using ExampleIntegrand =
    std::function<torch::Tensor(const torch::Tensor& rows, const torch::Tensor& at)>;

struct AdaptiveIntegral {
  torch::Tensor value;                // (B) float64; NaN or infinite where the integrand is
  torch::Tensor error;                // (B): sum of |fine - coarse| over the panels
  torch::Tensor rows, middles, gaps;  // of every panel: whose, where, |fine - coarse|

  /// Where that of example `row` is largest.
  double worst_at(int64_t row) const;
};

/// int_low^high f of `batch` examples, panels at most `widest` wide to begin with. A panel is
/// halved until its two rules differ by less than tolerance (1 + int |f|), and no further once an
/// example has too many: the caller looks at error.
AdaptiveIntegral integrate_on_panels(const ExampleIntegrand& f, double low, double high,
                                     int64_t batch, double widest, double tolerance);

}  // namespace scorenet::diffusion
