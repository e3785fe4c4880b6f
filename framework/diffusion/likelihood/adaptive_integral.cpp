#include "framework/diffusion/likelihood/adaptive_integral.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace scorenet::diffusion {
namespace {

// A step of the integrand keeps two panels open at each depth; more than this many at once are
// noise, which no halving makes smooth.
constexpr int64_t kMostOpenPanels = 128;
constexpr int64_t kDeepest = 40;

struct Panels {
  torch::Tensor rows, low, width;  // (P)

  Panels select(const torch::Tensor& mask) const {
    return {rows.masked_select(mask), low.masked_select(mask), width.masked_select(mask)};
  }
  Panels halves() const {
    const auto half = width / 2;
    return {rows.repeat({2}), torch::cat({low, low + half}), half.repeat({2})};
  }
};

Panels equal_panels(double low, double high, int64_t batch, double widest) {
  const auto count = std::max<int64_t>(1, static_cast<int64_t>(std::ceil((high - low) / widest)));
  const double width = (high - low) / static_cast<double>(count);
  const auto edges = low + width * torch::arange(count, torch::kFloat64);
  return {torch::arange(batch, torch::kInt64).repeat_interleave(count), edges.repeat({batch}),
          torch::full({batch * count}, width, torch::kFloat64)};
}

// (P): whether the example of each panel has too many of them.
torch::Tensor crowded(const torch::Tensor& rows, const torch::Tensor& open, int64_t batch) {
  const auto counts =
      torch::zeros({batch}, torch::kInt64).index_add_(0, rows, open.to(torch::kInt64));
  return counts.index_select(0, rows).gt(kMostOpenPanels);
}

}  // namespace

double AdaptiveIntegral::worst_at(int64_t row) const {
  const auto of_row = gaps.nan_to_num(0).masked_fill(rows.ne(row), -1.0);
  return middles[of_row.argmax().item<int64_t>()].item<double>();
}

PairedRule gauss_kronrod() {
  // QK15's tables: abscissae from the outermost, Kronrod's weights, Gauss's at every other of them.
  const auto half =
      torch::tensor({0.991455371120812639206854697526329, 0.949107912342758524526189684047851,
                     0.864864423359769072789712788640926, 0.741531185599394439863864773280788,
                     0.586087235467691130294144838258730, 0.405845151377397166906606412076961,
                     0.207784955007898467600689403773245},
                    torch::kFloat64);
  const auto weights =
      torch::tensor({0.022935322010529224963732008058970, 0.063092092629978553290700663189204,
                     0.104790010322250183839876322541518, 0.140653259715525918745189590510238,
                     0.169004726639267902826583426598550, 0.190350578064785409913256402421014,
                     0.204432940075298892414161999234649},
                    torch::kFloat64);
  const auto coarse = torch::tensor(
      {0.0, 0.129484966168869693270611432679082, 0.0, 0.279705391489276667901467771423780, 0.0,
       0.381830050505118944950369775488975, 0.0},
      torch::kFloat64);
  const auto mirrored = [](const torch::Tensor& outer, double middle, double sign) {
    return torch::cat({sign * outer, torch::full({1}, middle, torch::kFloat64), outer.flip({0})});
  };
  return {mirrored(half, 0, -1), mirrored(weights, 0.209482141084727828012999174891714, 1),
          mirrored(coarse, 0.417959183673469387755102040816327, 1)};
}

AdaptiveIntegral integrate_on_panels(const ExampleIntegrand& f, double low, double high,
                                     int64_t batch, double widest, double tolerance) {
  const PairedRule rule = gauss_kronrod();
  const int64_t nodes = rule.nodes.size(0);
  const auto zeros = torch::zeros({batch}, torch::kFloat64);
  AdaptiveIntegral result{zeros.clone(), zeros.clone(), {}, {}, {}};
  std::vector<torch::Tensor> rows, middles, gaps;
  torch::Tensor scale;
  Panels open = equal_panels(low, high, batch, widest);
  for (int64_t depth = 0; open.rows.numel() > 0; ++depth) {
    // All examples' open panels are evaluated in one call of f.
    const auto at = open.low.unsqueeze(1) + open.width.unsqueeze(1) * (0.5 + 0.5 * rule.nodes);
    const auto values = f(open.rows.repeat_interleave(nodes), at.flatten()).view({-1, nodes});
    const auto fine = 0.5 * open.width * torch::matmul(values, rule.weights);
    const auto gap = (fine - 0.5 * open.width * torch::matmul(values, rule.coarse_weights)).abs();
    // int |f| by the first panels: only its size matters.
    if (depth == 0) scale = 1 + zeros.index_add(0, open.rows, fine.abs());
    // What is not finite stays so however often it is halved.
    auto differs = gap.gt(tolerance * scale.index_select(0, open.rows)) & torch::isfinite(gap);
    if (depth == kDeepest) differs = torch::zeros_like(differs);
    differs = differs & crowded(open.rows, differs, batch).logical_not();
    // Settled panels are added up and remembered with their gaps; the others are halved.
    const auto settled = differs.logical_not();
    const Panels done = open.select(settled);
    const auto done_gap = gap.masked_select(settled);
    result.value.index_add_(0, done.rows, fine.masked_select(settled));
    result.error.index_add_(0, done.rows, done_gap);
    rows.push_back(done.rows);
    middles.push_back(done.low + done.width / 2);
    gaps.push_back(done_gap);
    open = open.select(differs).halves();
  }
  result.rows = torch::cat(rows);
  result.middles = torch::cat(middles);
  result.gaps = torch::cat(gaps);
  return result;
}

}  // namespace scorenet::diffusion
