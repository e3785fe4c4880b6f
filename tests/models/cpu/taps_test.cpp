// The rules of taps on one channel, by plain loops: they make LibTorch's convolution and its two
// gradients.
#include "models/cpu/taps.hpp"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/support/noise.hpp"

namespace scorenet::models::cpu {
namespace {

torch::Tensor convolved(Form form, const torch::Tensor& x, const torch::Tensor& w) {
  switch (form) {
    case Form::point:
      return torch::conv2d(x, w);
    case Form::same:
      return torch::conv2d(x, w, {}, 1, 1);
    case Form::half:
      return torch::conv2d(x, w, {}, 2, 1);
    case Form::half_behind:
      return torch::conv2d(torch::constant_pad_nd(x, {0, 1, 0, 1}), w, {}, 2);
    case Form::twice:
      return torch::conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), w, {}, 1, 1);
  }
  return {};
}

// An image of one channel in float64; outside of it everything is zero.
struct Image {
  torch::Tensor values;  // (H, W)

  double at(int64_t y, int64_t x) const {
    const bool inside = y >= 0 && x >= 0 && y < values.size(0) && x < values.size(1);
    return inside ? values[y][x].item<double>() : 0;
  }
};

double weight_of(const torch::Tensor& w, const std::vector<int64_t>& entries) {
  double sum = 0;
  for (const int64_t e : entries) sum += w.flatten()[e].item<double>();
  return sum;
}

torch::Tensor by_taps(const std::vector<Phase>& phases, Area grid, const Image& from,
                      const torch::Tensor& w, torch::Tensor to) {
  for (const Phase& phase : phases) {
    for (int64_t i = 0; i < grid.height; ++i) {
      for (int64_t j = 0; j < grid.width; ++j) {
        double sum = 0;
        for (const TapRule& tap : phase.taps)
          sum += from.at(phase.in_step * i + tap.y, phase.in_step * j + tap.x) *
                 weight_of(w, tap.entries);
        to[phase.out_step * i + phase.out_y][phase.out_step * j + phase.out_x] = sum;
      }
    }
  }
  return to;
}

torch::Tensor weight_gradient(const TapRules& rules, const Image& x, const Image& d,
                              int64_t count) {
  const auto gradient = torch::zeros({count}, torch::kFloat64);
  for (const GradientTap& tap : rules.gradient) {
    double sum = 0;
    for (int64_t i = 0; i < rules.grid.height; ++i)
      for (int64_t j = 0; j < rules.grid.width; ++j)
        sum += x.at(rules.x_step * i + tap.x_y, rules.x_step * j + tap.x_x) *
               d.at(rules.d_step * i + tap.d_y, rules.d_step * j + tap.d_x);
    for (const int64_t e : tap.entries) gradient[e] += sum;
  }
  return gradient;
}

TEST(TapRules, MakeEveryFormOfConvolutionAndItsGradients) {
  for (const Form form : {Form::point, Form::same, Form::half, Form::half_behind, Form::twice}) {
    const int64_t side = form == Form::point ? 1 : 3;
    const Area area{4, 6};
    const auto x = test::noise(1, 1, {1, 1, area.height, area.width})[0].requires_grad_();
    const auto w = test::noise(2, 1, {1, 1, side, side})[0].requires_grad_();
    const auto y = convolved(form, x, w);
    const auto d = test::noise(3, 1, y.sizes())[0];
    const auto gradients = torch::autograd::grad({y}, {x, w}, {d});
    const TapRules rules = tap_rules(form, area);
    SCOPED_TRACE(static_cast<int>(form));

    const Image image{x.detach()[0][0]}, d_image{d[0][0]};
    const auto made =
        by_taps(rules.forward, rules.grid, image, w.detach(), torch::full_like(d[0][0], 99));
    EXPECT_TRUE(torch::allclose(made, y.detach()[0][0], 1e-12, 1e-12));
    const auto d_x = by_taps(rules.backward, rules.grid, d_image, w.detach(),
                             torch::full_like(image.values, 99));
    EXPECT_TRUE(torch::allclose(d_x, gradients[0][0][0], 1e-12, 1e-12));
    EXPECT_TRUE(torch::allclose(weight_gradient(rules, image, d_image, side * side),
                                gradients[1].flatten(), 1e-12, 1e-12));
    EXPECT_EQ(taps_in(rules.forward), static_cast<int64_t>(rules.gradient.size()));
  }
}

}  // namespace
}  // namespace scorenet::models::cpu
