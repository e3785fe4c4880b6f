#include "framework/diffusion/rows_of_batch.hpp"

#include <ATen/ATen.h>

namespace scorenet::diffusion {

Denoiser denoiser_of_rows(const Denoiser& whole, const torch::Tensor& rows, int64_t batch) {
  if (rows.numel() == batch) return whole;
  return [&whole, rows, batch](const torch::Tensor& x, const NoiseLevel& level) {
    const auto at_all = [&](const torch::Tensor& values) {
      return values.select(0, 0).expand({batch}).contiguous().index_copy(0, rows, values);
    };
    std::vector<int64_t> shape = x.sizes().vec();
    shape[0] = batch;
    const Denoised all = whole(at::zeros(shape, x.options()).index_copy(0, rows, x),
                               {at_all(level.alpha), at_all(level.sigma), at_all(level.log_snr)});
    const auto part = [&](const torch::Tensor& t) {
      return t.defined() ? t.index_select(0, rows) : t;
    };
    return Denoised{part(all.x0), part(all.eps), part(all.raw_variance)};
  };
}

}  // namespace scorenet::diffusion
