#include "framework/core/pixels.hpp"

namespace scorenet {

torch::Tensor data_from_pixels(const torch::Tensor& pixels, torch::Dtype dtype, int64_t levels) {
  return (pixels.to(dtype) + 0.5) * bin_width(levels) - 1.0;
}

torch::Tensor pixels_from_data(const torch::Tensor& x) {
  return x.add(1).div_(kPixelBinWidth).floor_().clamp_(0, kPixelLevels - 1).to(torch::kUInt8);
}

torch::Tensor levels_from_data(const torch::Tensor& x, int64_t levels) {
  return x.add(1).div_(bin_width(levels)).floor_().clamp_(0, levels - 1).to(torch::kInt64);
}

torch::Tensor in_model_range(const torch::Tensor& stored, int64_t levels) {
  return levels > 0 ? data_from_pixels(stored, torch::kFloat32, levels) : stored;
}

}  // namespace scorenet
