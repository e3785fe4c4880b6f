#include "models/cpu/way.hpp"

namespace scorenet::models::cpu {

Pass Way::pass(const Network& network, int64_t first, int64_t images) const {
  Pass pass;
  pass.images = images;
  pass.parameters = &parameters;
  pass.packed = packed->forward.const_data_ptr<float>();
  pass.statistics_of_image = network.statistics();
  pass.shifts_of_image = network.shifts();
  if (values.defined()) {
    pass.values = {values.data_ptr<float>() + first * network.value_floats(),
                   network.value_floats()};
  }
  if (statistics.defined())
    pass.statistics = statistics.data_ptr<double>() + first * pass.statistics_of_image;
  if (shifts.defined()) pass.shifts = shifts.data_ptr<float>() + first * pass.shifts_of_image;
  if (masks.defined()) {
    pass.masks_of_image = network.mask_bytes();
    pass.masks = masks.const_data_ptr<uint8_t>() + first * pass.masks_of_image;
    pass.mask_factor = static_cast<float>(1.0 / (1.0 - dropout));
  }
  if (d_shifts.defined())
    pass.shift_gradients = d_shifts.data_ptr<float>() + first * pass.shifts_of_image;
  if (packed->backward.defined()) pass.packed_backward = packed->backward.const_data_ptr<float>();
  return pass;
}

std::vector<const float*> numbers_of(const std::vector<torch::Tensor>& tensors) {
  std::vector<const float*> all;
  for (const torch::Tensor& t : tensors) all.push_back(t.const_data_ptr<float>());
  return all;
}

torch::Tensor padded_time(const torch::Tensor& time) {
  const int64_t channels = time.size(1);
  return torch::constant_pad_nd(time, {0, whole_blocks(channels) - channels}).contiguous();
}

void copy_in(const float* from, int64_t channels, const View& to) {
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t y = 0; y < to.area.height; ++y)
      for (int64_t x = 0; x < to.area.width; ++x) to.pixel[y * to.row + x * to.step + c] = *from++;
}

void copy_out(const View& from, int64_t channels, float* to) {
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t y = 0; y < from.area.height; ++y)
      for (int64_t x = 0; x < from.area.width; ++x)
        *to++ = from.pixel[y * from.row + x * from.step + c];
}

}  // namespace scorenet::models::cpu
