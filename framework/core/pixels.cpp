#include "framework/core/pixels.hpp"

namespace scorenet {

torch::Tensor data_from_pixels(const torch::Tensor& pixels, torch::Dtype dtype) {
  return (pixels.to(dtype) + 0.5) * kPixelBinWidth - 1.0;
}

torch::Tensor pixels_from_data(const torch::Tensor& x) {
  return x.add(1).div_(kPixelBinWidth).floor_().clamp_(0, kPixelLevels - 1).to(torch::kUInt8);
}

torch::Tensor in_model_range(const torch::Tensor& stored) {
  return stored.scalar_type() == torch::kUInt8 ? data_from_pixels(stored, torch::kFloat32) : stored;
}

}  // namespace scorenet
