// The kernels of the CPU executor against LibTorch's operations, for each instruction set.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <numeric>

#include "framework/core/random.hpp"
#include "models/cpu/arena.hpp"
#include "models/cpu/attention.hpp"
#include "models/cpu/bf16_kernels.hpp"
#include "models/cpu/convolution.hpp"
#include "models/cpu/group_norm.hpp"
#include "tests/models/cpu/each_target.hpp"

namespace scorenet::models::cpu {
namespace {

torch::Tensor noise(uint64_t step, c10::IntArrayRef shape) {
  return normal_for_slots({8, RandomStream::synthetic_data, step}, {0}, shape, torch::kFloat32)[0];
}

double relative_error(const torch::Tensor& a, const torch::Tensor& reference) {
  return ((a - reference).norm() / reference.norm()).item<double>();
}

// (B, C, H, W) as a padded image whose positions hold the channels of `in`.
class Padded {
 public:
  Padded(int64_t batch, Area area, int64_t positions)
      : memory_(torch::zeros({batch, area.height + 2, area.width + 2, positions})), area_(area) {}
  Padded(const torch::Tensor& x, const std::vector<int64_t>& in)
      : Padded(x.size(0), {x.size(2), x.size(3)}, static_cast<int64_t>(in.size())) {
    for (size_t i = 0; i < in.size(); ++i)
      if (in[i] >= 0) inside().select(3, static_cast<int64_t>(i)).copy_(x.select(1, in[i]));
  }

  View view() const {
    const int64_t step = memory_.stride(2), row = memory_.stride(1);
    return {memory_.data_ptr<float>() + row + step, step, row, memory_.stride(0), step, area_};
  }
  torch::Tensor inside() const {
    return memory_.narrow(1, 1, area_.height).narrow(2, 1, area_.width);
  }
  /// The channels of `in`, (B, C, H, W).
  torch::Tensor channels(const std::vector<int64_t>& in) const {
    std::vector<torch::Tensor> all;
    for (int64_t c = 0; std::count(in.begin(), in.end(), c) > 0; ++c) {
      const auto at = std::find(in.begin(), in.end(), c) - in.begin();
      all.push_back(inside().select(3, at));
    }
    return torch::stack(all, 1).contiguous();
  }
  /// Whether everything but the inside is zero: the next convolution reads it as its padding.
  bool border_is_zero() const {
    torch::Tensor rest = memory_.clone();
    rest.narrow(1, 1, area_.height).narrow(2, 1, area_.width).zero_();
    return rest.abs().max().item<float>() == 0;
  }

 private:
  torch::Tensor memory_;
  Area area_;
};

std::vector<int64_t> positions(int64_t channels) {
  std::vector<int64_t> in(static_cast<size_t>(whole_blocks(channels)), -1);
  std::iota(in.begin(), in.begin() + channels, 0);
  return in;
}

torch::Tensor convolved(Form form, const torch::Tensor& x, const torch::Tensor& w,
                        const torch::Tensor& bias) {
  switch (form) {
    case Form::point:
      return torch::conv2d(x, w, bias);
    case Form::same:
      return torch::conv2d(x, w, bias, 1, 1);
    case Form::half:
      return torch::conv2d(x, w, bias, 2, 1);
    case Form::half_behind:
      return torch::conv2d(torch::constant_pad_nd(x, {0, 1, 0, 1}), w, bias, 2);
    case Form::twice:
      return torch::conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), w, bias, 1, 1);
  }
  return {};
}

struct Case {
  Form form;
  int64_t in, out, height, width;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "form " << static_cast<int>(c.form) << ", " << c.in << " to " << c.out
             << " channels, " << c.height << "x" << c.width;
}

// Numbers whose products, and the sums of four of which, bfloat16 holds: then both arithmetics
// differ from LibTorch's in the sums' rounding alone.
torch::Tensor quarters(const torch::Tensor& x) { return (4 * x).round() / 4; }

// Forward, both gradients, with a residual, an added shift for each image, and padded channels.
void expect_convolves(const Case& c, Arithmetic arithmetic = Arithmetic::float32) {
  const bool is_float = arithmetic == Arithmetic::float32;
  const auto factor = [&](uint64_t step, c10::IntArrayRef shape) {
    return is_float ? noise(step, shape) : quarters(noise(step, shape));
  };
  const int64_t size = c.form == Form::point ? 1 : 3, batch = 3;
  const auto x = factor(1, {batch, c.in, c.height, c.width}).requires_grad_();
  const auto w = factor(2, {c.out, c.in, size, size}).requires_grad_();
  const auto bias = noise(3, {c.out});
  const auto plain = convolved(c.form, x, w, bias);
  const auto residual = noise(4, plain.sizes()), d_y = factor(5, plain.sizes());
  const auto shift = noise(6, {batch, whole_blocks(c.out)});
  const auto expected = plain - bias.view({-1, 1, 1}) +
                        shift.narrow(1, 0, c.out).unsqueeze(2).unsqueeze(3) + residual;
  const auto grads = torch::autograd::grad({expected}, {x, w}, {d_y});

  const auto in = positions(c.in), out = positions(c.out);
  const auto made_one = make_convolution(
      {c.form, in, {{0, 1, -1, c.out, 0}}, whole_blocks(c.out), {c.height, c.width}}, arithmetic,
      Arenas());
  const Convolution& conv = *made_one;
  const std::vector<const float*> parameters{w.const_data_ptr<float>(),
                                             bias.const_data_ptr<float>()};
  auto packed = torch::zeros({conv.forward_floats()});
  auto packed_back = torch::zeros({conv.backward_floats()});
  conv.pack_forward(parameters, packed.data_ptr<float>());
  conv.pack_backward(parameters, packed_back.data_ptr<float>());

  const Area made{plain.size(2), plain.size(3)};
  const Padded px(x.detach(), in), py(batch, made, whole_blocks(c.out)), pr(residual, out);
  const Padded pd(d_y, out), pdx(batch, {c.height, c.width}, whole_blocks(c.in));
  const View r = pr.view();
  conv.forward(packed.const_data_ptr<float>(), px.view(), py.view(), batch,
               {shift.const_data_ptr<float>(), shift.stride(0), &r});
  EXPECT_LT(relative_error(py.channels(out), expected.detach()), 2e-6) << c;
  EXPECT_TRUE(py.border_is_zero()) << c;
  conv.forward(packed.const_data_ptr<float>(), px.view(), py.view(), batch,
               {conv.bias(packed.const_data_ptr<float>()), 0, nullptr});
  EXPECT_LT(relative_error(py.channels(out), plain.detach()), 2e-6) << c;

  conv.input_gradient(packed_back.const_data_ptr<float>(), pd.view(), pdx.view(), batch, nullptr);
  EXPECT_LT(relative_error(pdx.channels(in), grads[0]), 2e-6) << c;
  EXPECT_TRUE(pdx.border_is_zero()) << c;
  const View twice = pdx.view();  // added to what is there
  conv.input_gradient(packed_back.const_data_ptr<float>(), pd.view(), pdx.view(), batch, &twice);
  EXPECT_LT(relative_error(pdx.channels(in), 2 * grads[0]), 2e-6) << c;

  auto sums = torch::full({conv.sum_floats()}, 5.0f);
  conv.add_weight_gradient(px.view(), pd.view(), 1, /*first=*/true, sums.data_ptr<float>());
  conv.add_weight_gradient(px.view().from_image(1), pd.view().from_image(1), batch - 1, false,
                           sums.data_ptr<float>());
  auto d_w = torch::full_like(w, 7.0f).detach();
  conv.write_weight_gradient(sums.const_data_ptr<float>(), {d_w.data_ptr<float>(), nullptr});
  EXPECT_LT(relative_error(d_w, grads[1]), 3e-6) << c;
}

class CpuKernels : public EachTarget {};
INSTANTIATE_TEST_SUITE_P(Targets, CpuKernels, each_target(), name_of_target);

TEST_P(CpuKernels, ConvolveAnyNumberOfChannels) {
  for (const int64_t in : {1, 3, 20, 32, 48, 64})
    for (const int64_t out : {1, 3, 20, 32, 48, 64}) expect_convolves({Form::same, in, out, 6, 8});
  for (const auto& [in, out] : std::vector<std::pair<int64_t, int64_t>>{{96, 128}, {256, 32}}) {
    expect_convolves({Form::same, in, out, 4, 4});
    expect_convolves({Form::same, in, out, 3, 5});
    expect_convolves({Form::same, in, out, 16, 16});  // by tiles of 4x4
    expect_convolves({Form::point, in, out, 2, 3});
  }
}

TEST_P(CpuKernels, ConvolveImagesOfAnySize) {
  for (const auto& [height, width] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {2, 2}, {7, 7}, {5, 9}, {14, 14}, {3, 40}, {28, 28}, {10, 31}, {8, 6}, {64, 4}})
    for (const int64_t channels : {16, 48}) {
      expect_convolves({Form::same, channels, channels, height, width});
      expect_convolves({Form::point, channels, 32, height, width});
      expect_convolves({Form::twice, channels, 32, height, width});
      expect_convolves({Form::half, channels, 32, 2 * height, 2 * width});
      expect_convolves({Form::half_behind, channels, 32, 2 * height, 2 * width});
    }
}

TEST_P(CpuKernels, ReadJoinedTensorsAndSumLayersIntoOne) {
  // 20 and 12 channels in three blocks, and two layers of 20 results each in four.
  std::vector<int64_t> in(48, -1);
  std::iota(in.begin(), in.begin() + 20, 0);
  std::iota(in.begin() + 32, in.begin() + 44, 20);
  const auto x = noise(1, {2, 32, 4, 6}), a = noise(2, {20, 32, 3, 3}),
             b = noise(3, {20, 32, 3, 3});
  const auto bias = noise(4, {20});
  const auto made_one =
      make_convolution({Form::same, in, {{0, 2, -1, 20, 0}, {1, 2, 2, 20, 32}}, 64, {4, 6}},
                       Arithmetic::float32, Arenas());
  const Convolution& conv = *made_one;
  auto packed = torch::zeros({conv.forward_floats()});
  conv.pack_forward(
      {a.const_data_ptr<float>(), b.const_data_ptr<float>(), bias.const_data_ptr<float>()},
      packed.data_ptr<float>());
  const Padded px(x, in), py(2, {4, 6}, 64);
  conv.forward(packed.const_data_ptr<float>(), px.view(), py.view(), 2,
               {conv.bias(packed.const_data_ptr<float>()), 0, nullptr});
  std::vector<int64_t> first = positions(20);
  first.resize(64, -1);
  EXPECT_LT(relative_error(py.channels(first), torch::conv2d(x, a, bias, 1, 1)), 2e-6);
  std::rotate(first.begin(), first.begin() + 32, first.end());
  EXPECT_LT(relative_error(py.channels(first), torch::conv2d(x, b, 2 * bias, 1, 1)), 2e-6);
}

// The products of pairs, and the tiles where the CPU has them.
class Bf16Kernels : public testing::TestWithParam<Bf16Unit> {
 protected:
  void SetUp() override {
    if (bf16_unit() < GetParam()) GTEST_SKIP() << "this CPU lacks the instructions";
    limit_bf16_unit(GetParam());
  }
  void TearDown() override { limit_bf16_unit(Bf16Unit::tiles); }
};
INSTANTIATE_TEST_SUITE_P(Units, Bf16Kernels, testing::Values(Bf16Unit::pairs, Bf16Unit::tiles),
                         [](const auto& unit) {
                           return unit.param == Bf16Unit::tiles ? "amx" : "avx512_bf16";
                         });

TEST_P(Bf16Kernels, ConvolveAnyNumberOfChannels) {
  for (const int64_t in : {1, 3, 20, 32, 48, 64})
    for (const int64_t out : {1, 3, 20, 32, 48, 64})
      expect_convolves({Form::same, in, out, 6, 8}, Arithmetic::bfloat16);
  for (const auto& [in, out] : std::vector<std::pair<int64_t, int64_t>>{{96, 128}, {256, 32}}) {
    for (const Form form : {Form::same, Form::point, Form::twice})
      expect_convolves({form, in, out, 4, 3}, Arithmetic::bfloat16);
    expect_convolves({Form::half, in, out, 4, 6}, Arithmetic::bfloat16);
  }
}

TEST_P(Bf16Kernels, ConvolveImagesOfAnySize) {
  for (const auto& [height, width] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {2, 2}, {7, 7}, {5, 9}, {14, 14}, {3, 40}, {28, 28}, {10, 31}, {8, 6}}) {
    for (const Form form : {Form::same, Form::point, Form::twice})
      expect_convolves({form, 48, 32, height, width}, Arithmetic::bfloat16);
    for (const Form form : {Form::half, Form::half_behind})
      expect_convolves({form, 48, 32, 2 * height, 2 * width}, Arithmetic::bfloat16);
  }
}

TEST_P(CpuKernels, NormaliseAndActivate) {
  for (const bool silu : {true, false}) {
    for (const auto& [channels, groups] :
         std::vector<std::pair<int64_t, int64_t>>{{20, 5}, {32, 16}, {96, 32}, {144, 4}}) {
      const auto x = (noise(1, {2, channels, 5, 6}) * 2 + 1).requires_grad_();
      const auto w = noise(2, {channels}).requires_grad_(),
                 b = noise(3, {channels}).requires_grad_();
      auto expected = torch::group_norm(x, groups, w, b, 1e-5);
      if (silu) expected = torch::silu(expected);
      const auto d_y = noise(4, x.sizes()), more = noise(5, x.sizes());
      const auto grads = torch::autograd::grad({expected}, {x, w, b}, {d_y});

      const auto in = positions(channels);
      const GroupNorm norm({in, channels, groups, 1e-5, silu});
      const GroupNorm::Parameters p{w.const_data_ptr<float>(), b.const_data_ptr<float>()};
      const Padded px(x.detach(), in), py(2, {5, 6}, whole_blocks(channels));
      const Padded pd(d_y, in), pm(more, in), pdx(2, {5, 6}, whole_blocks(channels));
      std::vector<double> statistics(static_cast<size_t>(4 * groups));
      const GroupNorm::Statistics s{statistics.data(), 2 * groups};
      norm.forward(p, px.view(), py.view(), 2, s, {});
      EXPECT_LT(relative_error(py.channels(in), expected.detach()), 1e-6) << channels;
      EXPECT_TRUE(py.border_is_zero());

      const auto d_w = torch::zeros({channels}, torch::kFloat64), d_b = torch::zeros_like(d_w);
      const auto sums = torch::zeros({2, whole_blocks(channels)});
      const View added = pm.view();
      norm.backward(
          p, px.view(), pd.view(), pdx.view(), {&added}, 2, s,
          {d_w.data_ptr<double>(), d_b.data_ptr<double>(), sums.data_ptr<float>(), sums.stride(0)});
      EXPECT_LT(relative_error(pdx.channels(in) - more, grads[0]), 3e-6) << channels;
      EXPECT_LT(relative_error(d_w.to(torch::kFloat32), grads[1]), 2e-6) << channels;
      EXPECT_LT(relative_error(d_b.to(torch::kFloat32), grads[2]), 2e-6) << channels;
      const auto of_images = grads[0].sum({2, 3});
      EXPECT_LT(((sums.narrow(1, 0, channels) - of_images).norm() / grads[0].norm()).item<double>(),
                1e-5);
      EXPECT_TRUE(pdx.border_is_zero());
    }
  }
}

// Heads of many shapes, forward and gradient; tolerance: of the norm.
void expect_attends(Arithmetic arithmetic, double tolerance) {
  for (const auto& [heads, width] :
       std::vector<std::pair<int64_t, int64_t>>{{8, 8}, {1, 20}, {2, 24}, {1, 64}}) {
    for (const Area area : {Area{7, 7}, Area{1, 1}, Area{4, 8}}) {
      const int64_t channels = heads * width;
      std::vector<torch::Tensor> t;
      for (uint64_t i = 0; i < 3; ++i)
        t.push_back(noise(i, {2, channels, area.height, area.width}).requires_grad_());
      const auto split = [&](const torch::Tensor& x) {
        return x.view({2, heads, width, area.pixels()}).transpose(2, 3);
      };
      const auto weights = (torch::matmul(split(t[0]), split(t[1]).transpose(2, 3)) /
                            std::sqrt(static_cast<double>(width)))
                               .softmax(-1);
      const auto expected =
          torch::matmul(weights, split(t[2])).transpose(2, 3).reshape(t[0].sizes());
      const auto d = noise(7, expected.sizes());
      const auto grads = torch::autograd::grad({expected}, t, {d});

      const auto in = positions(channels);
      const Padded q(t[0].detach(), in), k(t[1].detach(), in), v(t[2].detach(), in);
      const Padded y(2, area, whole_blocks(channels)), d_q(y), d_y(d, in);
      const Padded d_k(2, area, whole_blocks(channels)), d_v(2, area, whole_blocks(channels)),
          d_queries(2, area, whole_blocks(channels));
      const AttentionViews views{q.view(), k.view(), v.view(), y.view()};
      attend(views, {heads, width}, arithmetic, 2);
      EXPECT_LT(relative_error(y.channels(in), expected.detach()), tolerance) << heads;
      attend_gradient(views, {d_queries.view(), d_k.view(), d_v.view(), d_y.view()}, {heads, width},
                      arithmetic, 2);
      const double all = grads[2].norm().item<double>();  // those of one token's weights are 0
      EXPECT_LT((d_queries.channels(in) - grads[0]).norm().item<double>(), 1.5 * tolerance * all);
      EXPECT_LT((d_k.channels(in) - grads[1]).norm().item<double>(), 1.5 * tolerance * all);
      EXPECT_LT((d_v.channels(in) - grads[2]).norm().item<double>(), 1.5 * tolerance * all);
    }
  }
}

TEST_P(CpuKernels, Attend) { expect_attends(Arithmetic::float32, 2e-6); }
// Rounded: queries, keys, values, weights and their gradients.
TEST_P(Bf16Kernels, Attend) { expect_attends(Arithmetic::bfloat16, 6e-3); }

TEST_P(CpuKernels, PassOnWhatIsNotANumber) {
  auto x = noise(1, {1, 16, 3, 3});
  x[0][5][1][1] = std::numeric_limits<float>::quiet_NaN();
  const auto w = torch::ones({16}), b = torch::zeros({16});
  const GroupNorm norm({positions(16), 16, 4, 1e-5, true});
  const Padded px(x, positions(16)), py(1, {3, 3}, 16);
  std::vector<double> statistics(8);
  norm.forward({w.const_data_ptr<float>(), b.const_data_ptr<float>()}, px.view(), py.view(), 1,
               {statistics.data(), 8}, {});
  const auto finite = torch::isfinite(py.channels(positions(16)));
  EXPECT_FALSE(finite.narrow(1, 4, 4).any().item<bool>());
  EXPECT_TRUE(finite.narrow(1, 8, 8).all().item<bool>());
}

}  // namespace
}  // namespace scorenet::models::cpu
