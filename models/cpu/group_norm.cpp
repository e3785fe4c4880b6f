#include "models/cpu/group_norm.hpp"

#include <ATen/Parallel.h>

#include <cmath>

#include "models/cpu/norm.hpp"
#include "models/cpu/pixel_planes.hpp"

namespace scorenet::models::cpu {

void GroupNorm::set_statistics(const double* sum, const double* squares, int64_t pixels,
                               double* statistics) const {
  const int64_t per_group = shape_.channels / shape_.groups;
  std::fill_n(statistics, 2 * shape_.groups, 0.0);
  for (size_t i = 0; i < shape_.in.size(); ++i) {
    if (shape_.in[i] < 0) continue;
    double* of_group = statistics + 2 * (shape_.in[i] / per_group);
    of_group[0] += sum[i];
    of_group[1] += squares[i];
  }
  const double count = static_cast<double>(pixels * per_group);
  for (int64_t g = 0; g < shape_.groups; ++g) {
    double* of_group = statistics + 2 * g;
    const double mean = of_group[0] / count;
    // Rounding may leave a constant group a variance just below zero. max(NaN, 0) must stay NaN.
    const double variance = of_group[1] / count - mean * mean;
    of_group[0] = mean;
    of_group[1] = 1.0 / std::sqrt((variance < 0 ? 0 : variance) + shape_.eps);
  }
}

void GroupNorm::set_factors(const Parameters& p, const double* statistics, float* scale,
                            float* shift) const {
  const int64_t per_group = shape_.channels / shape_.groups;
  for (size_t i = 0; i < shape_.in.size(); ++i) {
    const int64_t c = shape_.in[i];
    scale[i] = shift[i] = 0;
    if (c < 0) continue;
    const double* of_group = statistics + 2 * (c / per_group);
    const double factor = of_group[1] * static_cast<double>(p.weight[c]);
    scale[i] = static_cast<float>(factor);
    shift[i] = static_cast<float>(static_cast<double>(p.bias[c]) - of_group[0] * factor);
  }
}

namespace {

View row_of(const View& image, int64_t y) {
  View row = image;
  row.pixel = image.at(0, y, 0);
  row.area.height = 1;
  return row;
}

// A row on its way from float32 to its rounding: it stays in the nearest cache.
class RoundedRows {
 public:
  RoundedRows(Area area, int64_t channels, Bf16* to)
      : planes_(area, 1, channels),
        memory_(static_cast<size_t>(area.width * channels)),
        row_{memory_.data(), channels, 0, 0, channels, {1, area.width}},
        to_(to) {}

  const View& row() const { return row_; }
  void round_as(int64_t y) const {
    round_pixels(row_.pixel, row_.step, row_.area.width, row_.channels, to_ + planes_.at(0, y, 0),
                 planes_.chunk());
  }

 private:
  PixelPlanes planes_;
  std::vector<float> memory_;
  View row_;
  Bf16* to_;
};

}  // namespace

void GroupNorm::scale_and_round(const View& x, const float* scale, const float* shift,
                                const Mask& mask, Bf16* rounded) const {
  const RoundedRows rows(x.area, x.channels, rounded);
  for (int64_t y = 0; y < x.area.height; ++y) {
    scale_and_shift(row_of(x, y), scale, shift, shape_.silu, rows.row());
    if (mask.first != nullptr)
      drop(rows.row(), mask.first + y * x.area.width * x.channels, mask.factor);
    rows.round_as(y);
  }
}

void GroupNorm::combine_and_round(const View& g, const View& x, const Combination& factors,
                                  Bf16* rounded, float* channels) const {
  const RoundedRows rows(x.area, x.channels, rounded);
  std::vector<double> sums(static_cast<size_t>(x.channels));
  std::vector<float> of_row(sums.size());
  for (int64_t y = 0; y < x.area.height; ++y) {
    Combination of_this = factors;
    View more[2];
    for (int m = 0; m < 2; ++m) {
      if (factors.more[m] == nullptr) continue;
      more[m] = row_of(*factors.more[m], y);
      of_this.more[m] = &more[m];
    }
    combine(row_of(g, y), row_of(x, y), of_this, rows.row(), of_row.data());
    rows.round_as(y);
    for (size_t c = 0; c < sums.size(); ++c) sums[c] += static_cast<double>(of_row[c]);
  }
  if (channels != nullptr) std::copy(sums.begin(), sums.end(), channels);
}

void GroupNorm::forward(const Parameters& p, const View& x, const Operand& y, int64_t images,
                        const Statistics& statistics, const Mask& mask) const {
  const size_t positions = shape_.in.size();
  at::parallel_for(0, images, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> sum(positions), squares(positions);
    std::vector<float> scale(positions), shift(positions);
    for (int64_t n = begin; n < end; ++n) {
      channel_sums(x.from_image(n), sum.data(), squares.data());
      set_statistics(sum.data(), squares.data(), x.area.pixels(), statistics.of(n));
      set_factors(p, statistics.of(n), scale.data(), shift.data());
      if (y.rounded != nullptr) {
        Mask of_image = mask;
        if (mask.first != nullptr) of_image.first += n * mask.image;
        scale_and_round(x.from_image(n), scale.data(), shift.data(), of_image,
                        y.rounded + n * y.rounded_image);
      } else {
        scale_and_shift(x.from_image(n), scale.data(), shift.data(), shape_.silu,
                        y.view.from_image(n));
        mask.apply(y.view.from_image(n), n);
      }
    }
  });
}

// With x_hat = (x - mean) inverse and N elements a group, d_x = inverse (w g - mean(w g) - x_hat
// mean(w g x_hat)), the means over the group: k[0] g + k[1] x + k[2].
void GroupNorm::finish(const Parameters& p, const double* statistics, int64_t pixels,
                       const double* g, const double* gx, float* k, double* d_weight,
                       double* d_bias) const {
  const int64_t per_group = shape_.channels / shape_.groups;
  const double count = static_cast<double>(pixels * per_group);
  const size_t positions = shape_.in.size();
  std::vector<double> mean_g(static_cast<size_t>(shape_.groups)), mean_gx(mean_g);
  for (size_t i = 0; i < positions; ++i) {
    const int64_t c = shape_.in[i];
    if (c < 0) continue;
    const auto group = static_cast<size_t>(c / per_group);
    d_bias[c] = g[i];
    d_weight[c] = statistics[2 * group + 1] * (gx[i] - statistics[2 * group] * g[i]);
    mean_g[group] += static_cast<double>(p.weight[c]) * d_bias[c] / count;
    mean_gx[group] += static_cast<double>(p.weight[c]) * d_weight[c] / count;
  }
  for (size_t i = 0; i < positions; ++i) {
    const int64_t c = shape_.in[i];
    k[i] = k[positions + i] = k[2 * positions + i] = 0;
    if (c < 0) continue;
    const auto group = static_cast<size_t>(c / per_group);
    const double mean = statistics[2 * group], inverse = statistics[2 * group + 1];
    k[i] = static_cast<float>(inverse * static_cast<double>(p.weight[c]));
    k[positions + i] = static_cast<float>(-inverse * inverse * mean_gx[group]);
    k[2 * positions + i] =
        static_cast<float>(inverse * (inverse * mean * mean_gx[group] - mean_g[group]));
  }
}

void GroupNorm::backward(const Parameters& p, const View& x, const View& d_y, const Operand& d_x,
                         const std::vector<const View*>& more, int64_t images,
                         const Statistics& statistics, const Gradients& gradients) const {
  const size_t positions = shape_.in.size();
  const auto channels = static_cast<size_t>(shape_.channels);
  // Of every image apart, so that their sums have one order.
  std::vector<double> d_weight(channels * static_cast<size_t>(images)), d_bias(d_weight.size());
  at::parallel_for(0, images, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> g(positions), gx(positions);
    std::vector<float> scale(positions), shift(positions), k(3 * positions);
    for (int64_t n = begin; n < end; ++n) {
      const View image = x.from_image(n), d_image = d_y.from_image(n);
      set_factors(p, statistics.of(n), scale.data(), shift.data());
      unscale(image, scale.data(), shift.data(), shape_.silu, d_image, g.data(), gx.data());
      finish(p, statistics.of(n), x.area.pixels(), g.data(), gx.data(), k.data(),
             d_weight.data() + static_cast<size_t>(n) * channels,
             d_bias.data() + static_cast<size_t>(n) * channels);
      View added[2];
      Combination factors{k.data(), k.data() + positions, k.data() + 2 * positions, {}};
      for (size_t i = 0; i < more.size(); ++i) {
        added[i] = more[i]->from_image(n);
        factors.more[i] = &added[i];
      }
      float* sums = gradients.sums != nullptr ? gradients.sums + n * gradients.sums_image : nullptr;
      if (d_x.rounded != nullptr) {
        combine_and_round(d_image, image, factors, d_x.rounded + n * d_x.rounded_image, sums);
      } else {
        combine(d_image, image, factors, d_x.view.from_image(n), sums);
      }
    }
  });
  if (gradients.weight == nullptr) return;
  for (size_t i = 0; i < d_weight.size(); ++i) {
    gradients.weight[i % channels] += d_weight[i];
    gradients.bias[i % channels] += d_bias[i];
  }
}

}  // namespace scorenet::models::cpu
