#include "models/kernels/fused_norm.hpp"

#include <ATen/Parallel.h>

#include <cmath>
#include <type_traits>

#include "models/kernels/convolution.hpp"

namespace scorenet::models::kernels {
namespace {

// f(T{}) with T the element type that the vector kernels know.
template <class F>
void by_bits(torch::Dtype dtype, const F& f) {
  if (dtype == torch::kBFloat16) {
    f(uint16_t{});
  } else {
    f(float{});
  }
}

// Image n of a padded tensor, `channels` of its channels from `first` on.
template <class T>
View<T> view(const torch::Tensor& padded, int64_t n, int64_t first, int64_t channels) {
  auto* data = static_cast<std::remove_const_t<T>*>(padded.data_ptr());
  return {data + n * padded.stride(0) + first, channels, padded.size(3)};
}
template <class T>
View<T> view(const torch::Tensor& padded, int64_t n) {
  return view<T>(padded, n, 0, padded.size(3));
}

int64_t total_channels(const std::vector<torch::Tensor>& sources) {
  int64_t channels = 0;
  for (const auto& source : sources) channels += source.size(3);
  return channels;
}

// Per-channel factors of one image: normalised and scaled, x becomes scale x + shift.
struct Affine {
  explicit Affine(int64_t channels)
      : scale(static_cast<size_t>(channels)), shift(static_cast<size_t>(channels)) {}

  void set(const NormParameters& norm, const double* statistics) {
    const float* weight = norm.weight.const_data_ptr<float>();
    const float* bias = norm.bias.const_data_ptr<float>();
    const size_t per_group = scale.size() / static_cast<size_t>(norm.groups);
    for (size_t c = 0; c < scale.size(); ++c) {
      const double mean = statistics[c / per_group * 2],
                   inverse = statistics[c / per_group * 2 + 1];
      scale[c] = static_cast<float>(inverse * weight[c]);
      shift[c] = static_cast<float>(bias[c] - mean * inverse * weight[c]);
    }
  }
  std::vector<float> scale, shift;
};

void set_statistics(const std::vector<double>& sum, const std::vector<double>& squares,
                    int64_t pixels, const NormParameters& norm, double* statistics) {
  const size_t per_group = sum.size() / static_cast<size_t>(norm.groups);
  const double count = static_cast<double>(pixels) * static_cast<double>(per_group);
  for (size_t g = 0; g < static_cast<size_t>(norm.groups); ++g) {
    double total = 0, total_squares = 0;
    for (size_t c = g * per_group; c < (g + 1) * per_group; ++c) {
      total += sum[c];
      total_squares += squares[c];
    }
    const double mean = total / count;
    // Rounding may leave a constant group a variance just below zero. max(NaN, 0) must stay NaN.
    const double variance = total_squares / count - mean * mean;
    statistics[2 * g] = mean;
    statistics[2 * g + 1] = 1.0 / std::sqrt((variance < 0 ? 0 : variance) + norm.eps);
  }
}

template <class T>
void forward_image(const std::vector<torch::Tensor>& sources, const NormParameters& norm, int64_t n,
                   double* statistics, const torch::Tensor& out, Affine& affine) {
  const Area area = area_of(out);
  std::vector<double> sum(affine.scale.size()), squares(affine.scale.size());
  int64_t first = 0;
  for (const auto& source : sources) {
    add_channel_sums<T>(view<const T>(source, n), area, sum.data() + first, squares.data() + first);
    first += source.size(3);
  }
  set_statistics(sum, squares, area.height * area.width, norm, statistics);
  affine.set(norm, statistics);
  first = 0;
  for (const auto& source : sources) {
    scale_shift<T>(view<const T>(source, n), area, affine.scale.data() + first,
                   affine.shift.data() + first, norm.silu, view<T>(out, n, first, source.size(3)));
    first += source.size(3);
  }
}

// The sums that the backward pass of one image needs, and what it makes of them.
struct BackwardSums {
  explicit BackwardSums(size_t channels)
      : g(channels), gx(channels), k1(channels), k2(channels), k3(channels) {}
  std::vector<double> g, gx;      // sums over pixels of g and g x, per channel
  std::vector<float> k1, k2, k3;  // dx = k1 g + k2 x + k3

  // With x_hat = (x - mean) inverse and N elements a group: dx = inverse (w g - mean(w g) - x_hat
  // mean(w g x_hat)), the means over the group. d_weight and d_bias: sums of g x_hat and of g.
  void finish(const NormParameters& norm, const double* statistics, int64_t pixels,
              double* d_weight, double* d_bias) {
    const float* weight = norm.weight.const_data_ptr<float>();
    const size_t per_group = g.size() / static_cast<size_t>(norm.groups);
    const double count = static_cast<double>(pixels) * static_cast<double>(per_group);
    for (size_t group = 0; group < static_cast<size_t>(norm.groups); ++group) {
      const double mean = statistics[2 * group], inverse = statistics[2 * group + 1];
      double mean_g = 0, mean_gx = 0;
      for (size_t c = group * per_group; c < (group + 1) * per_group; ++c) {
        d_bias[c] = g[c];
        d_weight[c] = inverse * (gx[c] - mean * g[c]);
        mean_g += weight[c] * d_bias[c] / count;
        mean_gx += weight[c] * d_weight[c] / count;
      }
      for (size_t c = group * per_group; c < (group + 1) * per_group; ++c) {
        k1[c] = static_cast<float>(inverse * weight[c]);
        k2[c] = static_cast<float>(-inverse * inverse * mean_gx);
        k3[c] = static_cast<float>(inverse * (inverse * mean * mean_gx - mean_g));
      }
    }
  }
};

struct BackwardCall {
  const std::vector<torch::Tensor>& sources;
  const NormParameters& norm;
  const torch::Tensor& d_out;
  const std::vector<torch::Tensor>& residuals;
  const std::vector<torch::Tensor>& d_sources;
};

template <class T>
void backward_image(const BackwardCall& call, int64_t n, const double* statistics, double* d_weight,
                    double* d_bias, double* channel_sums, float* g) {
  const Area area = area_of(call.d_out);
  const int64_t pixels = area.height * area.width;
  const auto channels = static_cast<size_t>(call.d_out.size(3));
  Affine affine(call.d_out.size(3));
  affine.set(call.norm, statistics);
  BackwardSums sums(channels);
  int64_t first = 0;
  for (const auto& source : call.sources) {
    scale_shift_gradient<T>(
        view<const T>(source, n), view<const T>(call.d_out, n, first, source.size(3)), area,
        affine.scale.data() + first, affine.shift.data() + first, call.norm.silu,
        g + first * pixels, sums.g.data() + first, sums.gx.data() + first);
    first += source.size(3);
  }
  sums.finish(call.norm, statistics, pixels, d_weight, d_bias);
  first = 0;
  for (size_t i = 0; i < call.sources.size(); ++i) {
    const auto residual =
        call.residuals.empty() ? View<const T>{} : view<const T>(call.residuals[i], n);
    combine_gradient<T>(g + first * pixels, view<const T>(call.sources[i], n), area,
                        sums.k1.data() + first, sums.k2.data() + first, sums.k3.data() + first,
                        residual, view<T>(call.d_sources[i], n), channel_sums + first);
    first += call.sources[i].size(3);
  }
}

}  // namespace

NormResult norm_forward(const std::vector<torch::Tensor>& sources, const NormParameters& norm) {
  const torch::Tensor& x = sources[0];
  const int64_t channels = total_channels(sources);
  NormResult result{empty_padded(x.size(0), area_of(x), channels, x.scalar_type()),
                    torch::empty({x.size(0), norm.groups, 2}, torch::kFloat64)};
  auto* statistics = result.statistics.data_ptr<double>();
  by_bits(x.scalar_type(), [&]<class T>(T) {
    at::parallel_for(0, x.size(0), 1, [&](int64_t begin, int64_t end) {
      Affine affine(channels);
      for (int64_t n = begin; n < end; ++n) {
        forward_image<T>(sources, norm, n, statistics + n * norm.groups * 2, result.out, affine);
      }
    });
  });
  return result;
}

NormGradient norm_backward(const std::vector<torch::Tensor>& sources, const NormParameters& norm,
                           const torch::Tensor& statistics, const torch::Tensor& d_out,
                           const std::vector<torch::Tensor>& residuals) {
  const int64_t batch = d_out.size(0), channels = d_out.size(3);
  const Area area = area_of(d_out);
  std::vector<torch::Tensor> d_sources;
  for (const auto& source : sources) {
    d_sources.push_back(empty_padded(batch, area, source.size(3), source.scalar_type()));
  }
  // d_weight, d_bias and channel sums of every image apart: their sum does not depend
  // on the threads.
  const torch::Tensor sums = torch::zeros({3, batch, channels}, torch::kFloat64);
  auto* s = sums.data_ptr<double>();
  const BackwardCall call{sources, norm, d_out, residuals, d_sources};
  by_bits(d_out.scalar_type(), [&]<class T>(T) {
    at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> g(static_cast<size_t>(channels * area.height * area.width));
      for (int64_t n = begin; n < end; ++n) {
        backward_image<T>(call, n, statistics.const_data_ptr<double>() + n * norm.groups * 2,
                          s + n * channels, s + (batch + n) * channels,
                          s + (2 * batch + n) * channels, g.data());
      }
    });
  });
  return {d_sources, sums[0].sum(0).to(torch::kFloat32), sums[1].sum(0).to(torch::kFloat32),
          sums[2].to(torch::kFloat32)};
}

}  // namespace scorenet::models::kernels
