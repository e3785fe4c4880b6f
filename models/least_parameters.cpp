#include "models/least_parameters.hpp"

#include <cmath>

namespace scorenet::models {
namespace {

// In floating point, as the numbers come from a file.
double number(int64_t n) { return static_cast<double>(n); }

// 3^axes or patch^axes: the places of a kernel.
double area(int64_t size, size_t axes) {
  return std::pow(number(size), number(static_cast<int64_t>(axes)));
}

double unet(const UNetOptions& o, int64_t image_channels, size_t axes, bool has_way_up) {
  if (o.channels.empty()) return 0;
  const double first = number(o.channels.front());
  double sum = 16 * first * first;  // the time embedding's second layer
  sum += area(3, axes) * first * number(image_channels) * (has_way_up ? 2 : 1);
  if (o.num_classes > 0) sum += 4 * first * number(o.num_classes);
  sum += 4 * first * number(o.conditions.numbers + o.conditions.augment);
  sum += area(3, axes) * first * number(o.conditions.channels);
  const double blocks = number(o.layers_per_block) * (has_way_up ? 2 : 1);
  // A block's second convolution and its projection of time.
  for (const int64_t c : o.channels)
    sum += blocks * (area(3, axes) * number(c) * number(c) + 4 * first * number(c));
  return sum;
}

double mlp(const MLPOptions& o, int64_t dims) {
  double sum = 0, width = number(dims) + number(o.conditions.numbers);
  for (const int64_t next : o.hidden) {
    sum += width * number(next);
    width = number(next);
  }
  if (o.num_classes > 0) sum += number(o.num_classes) * number(o.embedding_dim);
  return sum;
}

double dit(const DiTOptions& o, int64_t image_channels, size_t axes) {
  const double width = number(o.width);
  // A block's modulation, attention and perceptron; the first and the last layer.
  double sum = number(o.depth) * width * width * (6 + 4 + 2 * number(o.mlp_ratio));
  sum += 2 * area(o.patch_size, axes) * number(image_channels) * width;
  if (o.num_classes > 0) sum += width * number(o.num_classes);
  sum += width * number(o.conditions.numbers + o.conditions.augment);
  sum += area(o.patch_size, axes) * width * number(o.conditions.channels);
  return sum;
}

}  // namespace

double least_parameters(const ModelOptions& options, c10::IntArrayRef example_shape) {
  const int64_t first = example_shape.empty() ? 0 : example_shape[0];
  const size_t axes = example_shape.empty() ? 0 : example_shape.size() - 1;
  if (options.type == "unet") return unet(options.unet, first, axes, true);
  if (options.type == "dit") return dit(options.dit, first, axes);
  if (options.type == "mlp") return mlp(options.mlp, first);
  if (options.type != "classifier") return 0;
  UNetOptions encoder = options.unet;
  MLPOptions points = options.mlp;
  encoder.num_classes = points.num_classes = 0;
  return example_shape.size() == 1 ? mlp(points, first) : unet(encoder, first, axes, false);
}

}  // namespace scorenet::models
