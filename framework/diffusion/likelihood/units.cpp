#include "framework/diffusion/likelihood/units.hpp"

#include <cmath>
#include <numbers>
#include <sstream>

#include "framework/core/error.hpp"

namespace scorenet::diffusion {
namespace {

// x_k = (k + 1/2) w - 1, so k = (x + 1) / w - 1/2.
torch::Tensor fractional_level(const torch::Tensor& x, int64_t levels) {
  return (x.to(torch::kFloat64) + 1.0) / bin_width(levels) - 0.5;
}

}  // namespace

torch::Tensor bits_per_dim(const torch::Tensor& nats, int64_t dims) {
  return nats / (static_cast<double>(dims) * std::numbers::ln2);
}
double bits_per_dim(double nats, int64_t dims) {
  return nats / (static_cast<double>(dims) * std::numbers::ln2);
}

double uniform_dequantisation_offset_nats(int64_t dims, double bin_width) {
  if (!(bin_width > 0)) {
    std::ostringstream sentence;
    sentence << "dequantisation: bin width " << bin_width << ", expected > 0.";
    throw ConfigError(sentence.str());
  }
  return -static_cast<double>(dims) * std::log(bin_width);
}

void check_on_pixel_levels(const torch::Tensor& x0, int64_t levels) {
  const auto level = fractional_level(x0.detach(), levels).flatten();
  const auto off = (level - level.round()).abs().gt(1e-3) | level.lt(-0.5) |
                   level.gt(static_cast<double>(levels) - 0.5) | level.isnan();
  if (!off.any().item<bool>()) return;
  const auto first = off.to(torch::kInt64).argmax().item<int64_t>();
  std::ostringstream sentence;
  sentence << "decoder of levels: the data holds " << x0.flatten()[first].item<double>()
           << ", which is none of the " << levels << " levels 2 (k + 1/2) / " << levels
           << " - 1. Continuous data needs the flat or tweedie decoder.";
  throw DataError(sentence.str());
}

}  // namespace scorenet::diffusion
