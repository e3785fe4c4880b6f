#include "framework/data/augment.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "framework/core/error.hpp"
#include "framework/core/random.hpp"

namespace scorenet::data {
namespace {

constexpr double kStretch = 0.2;        // of the exponents of 2
constexpr double kTranslation = 0.125;  // of the size
// The uniforms and the normals of a slot must not share random words, nor those of data.flip.
constexpr uint64_t kUniforms = 0x5851f42d4c957f2d, kNormals = 0x14057b7ef767814f;

// (x, y) of the source = linear (x, y) of the result + shift; both from the image's centre.
struct Affine {
  double xx = 1, xy = 0, yx = 0, yy = 1, x = 0, y = 0;
};

bool moves(const Augmentation& a) {
  return a.scale != 0 || a.rotation != 0 || a.stretch != 0 || a.translate_x != 0 ||
         a.translate_y != 0;
}

// The inverse of: scaled, turned, stretched, moved.
Affine source_of(const Augmentation& a, double height, double width) {
  const double shrink = std::exp2(-kStretch * a.scale), along = std::exp2(-kStretch * a.stretch);
  const double c = std::cos(a.direction), s = std::sin(a.direction);
  // R(phi) diag(along, 1 / along) R(-phi)
  const double xx = along * c * c + s * s / along, yy = along * s * s + c * c / along;
  const double xy = (along - 1 / along) * c * s;
  const double turn_c = std::cos(a.rotation) * shrink, turn_s = std::sin(a.rotation) * shrink;
  Affine m{turn_c * xx + turn_s * xy, turn_c * xy + turn_s * yy, -turn_s * xx + turn_c * xy,
           -turn_s * xy + turn_c * yy};
  const double x = a.translate_x * kTranslation * width, y = a.translate_y * kTranslation * height;
  m.x = -(m.xx * x + m.xy * y);
  m.y = -(m.yx * x + m.yy * y);
  return m;
}

// Keys 1981, equation 4 with a = -1/2, at the distances 1 + u, u, 1 - u and 2 - u.
std::array<double, 4> weights_of(double u) {
  const auto near = [](double d) { return ((1.5 * d - 2.5) * d) * d + 1; };
  const auto far = [](double d) { return ((-0.5 * d + 2.5) * d - 4) * d + 2; };
  return {far(1 + u), near(u), near(1 - u), far(2 - u)};
}

int64_t mirrored(int64_t i, int64_t n) {
  const int64_t within = ((i % (2 * n)) + 2 * n) % (2 * n);
  return within < n ? within : 2 * n - 1 - within;
}

struct Taps {
  std::array<int64_t, 4> at;
  std::array<double, 4> weight;
};

Taps taps_at(double place, int64_t n) {
  const double first = std::floor(place);
  Taps taps{{}, weights_of(place - first)};
  for (int64_t k = 0; k < 4; ++k)
    taps.at[static_cast<size_t>(k)] = mirrored(static_cast<int64_t>(first) + k - 1, n);
  return taps;
}

// Plain loops: this runs on the loader's thread, which must not wake a second team of OpenMP
// threads.
void resample(const float* in, float* out, int64_t channels, int64_t height, int64_t width,
              const Affine& m) {
  const double middle_x = static_cast<double>(width - 1) / 2;
  const double middle_y = static_cast<double>(height - 1) / 2;
  for (int64_t row = 0; row < height; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      const double x = static_cast<double>(column) - middle_x;
      const double y = static_cast<double>(row) - middle_y;
      const Taps across = taps_at(m.xx * x + m.xy * y + m.x + middle_x, width);
      const Taps down = taps_at(m.yx * x + m.yy * y + m.y + middle_y, height);
      for (int64_t channel = 0; channel < channels; ++channel) {
        const float* const plane = in + channel * height * width;
        double sum = 0;
        for (size_t i = 0; i < 4; ++i) {
          double line = 0;
          for (size_t j = 0; j < 4; ++j)
            line +=
                across.weight[j] * static_cast<double>(plane[down.at[i] * width + across.at[j]]);
          sum += down.weight[i] * line;
        }
        out[(channel * height + row) * width + column] = static_cast<float>(sum);
      }
    }
  }
}

void flip(float* image, int64_t planes, int64_t height, int64_t width, const Augmentation& a) {
  for (int64_t plane = 0; plane < planes; ++plane, image += height * width) {
    if (a.flip_x)
      for (int64_t row = 0; row < height; ++row)
        std::reverse(image + row * width, image + (row + 1) * width);
    if (a.flip_y)
      for (int64_t row = 0; row < height / 2; ++row)
        std::swap_ranges(image + row * width, image + (row + 1) * width,
                         image + (height - 1 - row) * width);
  }
}

}  // namespace

std::vector<Augmentation> draw_augmentations(double probability, uint64_t seed, int64_t step,
                                             const std::vector<int64_t>& slots) {
  const auto at = static_cast<uint64_t>(step);
  const auto uniforms = uniform_for_slots({seed + kUniforms, RandomStream::augmentation, at}, slots,
                                          {9}, torch::kFloat64);
  const auto normals = normal_for_slots({seed + kNormals, RandomStream::augmentation, at}, slots,
                                        {4}, torch::kFloat64);
  const double *u = uniforms.const_data_ptr<double>(), *n = normals.const_data_ptr<double>();
  std::vector<Augmentation> all(slots.size());
  for (Augmentation& a : all) {
    const auto applied = [&](size_t gate) { return u[gate] < probability; };
    const auto angle = [&](size_t place) { return std::numbers::pi * (2 * u[place] - 1); };
    a.flip_x = probability > 0 && u[0] < 0.5;
    a.flip_y = applied(1) && u[2] < 0.5;
    if (applied(3)) a.scale = n[0];
    if (applied(4)) a.rotation = angle(5);
    if (applied(6)) {
      a.stretch = n[1];
      a.direction = angle(7);
    }
    if (applied(8)) {
      a.translate_x = n[2];
      a.translate_y = n[3];
    }
    u += 9;
    n += 4;
  }
  return all;
}

torch::Tensor told_of(const std::vector<Augmentation>& augmentations) {
  std::vector<double> told;
  for (const Augmentation& a : augmentations) {
    for (const double value :
         {a.flip_x ? 1.0 : 0.0, a.flip_y ? 1.0 : 0.0, a.scale, std::cos(a.rotation) - 1,
          std::sin(a.rotation), a.stretch * std::cos(a.direction),
          a.stretch * std::sin(a.direction), a.translate_x, a.translate_y})
      told.push_back(value);
  }
  return torch::tensor(told, torch::kFloat64).to(torch::kFloat32).view({-1, kAugmentNumbers});
}

torch::Tensor augmented(const torch::Tensor& examples,
                        const std::vector<Augmentation>& augmentations) {
  if (examples.dim() != 4 || examples.size(0) != static_cast<int64_t>(augmentations.size())) {
    throw ConfigError(
        "data.augment: examples have " + std::to_string(examples.dim() - 1) +
        " axes, and only images of channels, rows and columns can be augmented. Leave it out.");
  }
  const torch::Tensor source =
      examples.scalar_type() == torch::kFloat32 ? examples.clone() : examples.to(torch::kFloat32);
  const torch::Tensor in = source.contiguous();
  const int64_t channels = in.size(1), height = in.size(2), width = in.size(3);
  torch::Tensor out = torch::empty_like(in);
  for (size_t i = 0; i < augmentations.size(); ++i) {
    const int64_t first = static_cast<int64_t>(i) * channels * height * width;
    float* const image = in.data_ptr<float>() + first;
    float* const result = out.data_ptr<float>() + first;
    flip(image, channels, height, width, augmentations[i]);
    if (moves(augmentations[i]))
      resample(
          image, result, channels, height, width,
          source_of(augmentations[i], static_cast<double>(height), static_cast<double>(width)));
    else
      std::copy(image, image + channels * height * width, result);
  }
  return out;
}

}  // namespace scorenet::data
