#include "models/cpu/planned_network.hpp"

#include <ATen/Parallel.h>

#include <algorithm>

#include "framework/core/digest.hpp"
#include "models/blocks.hpp"

namespace scorenet::models::cpu {
namespace {

// Images that go through all layers together: enough for each weight that is read, few enough for
// the cache. Networks of many weights want more, and weights of half the size fewer.
constexpr int64_t kImagesAtOnce = 4;
constexpr int64_t kImagesAtOnceOfBf16 = 2;
constexpr int64_t kImagesAtOnceOfMany = 8;

std::string digest_of(const std::vector<torch::Tensor>& tensors) {
  Digest digest;
  for (const torch::Tensor& t : tensors)
    digest.add(t.const_data_ptr(), static_cast<size_t>(t.numel()) * sizeof(float));
  return digest.hex();
}

// Which of (C, H, W) reach the threshold, pixel by pixel; nothing is kept behind the channels.
void keep_at_least(const float* uniform, float threshold, const DropoutMask& mask, uint8_t* keep) {
  const int64_t step = whole_blocks(mask.channels);
  for (int64_t p = 0; p < mask.area.pixels(); ++p, keep += step) {
    for (int64_t c = 0; c < step; ++c)
      keep[c] = c < mask.channels && uniform[c * mask.area.pixels() + p] >= threshold ? 1 : 0;
  }
}

}  // namespace

PlannedNetwork::PlannedNetwork(const UNetOptions& options, int64_t in_channels,
                               int64_t out_channels, Area area, Arithmetic arithmetic)
    : network_(options, in_channels, out_channels, area, arithmetic),
      arithmetic_(arithmetic),
      in_channels_(in_channels),
      out_channels_(out_channels) {}

int64_t PlannedNetwork::images_at_once() const {
  if (network_.has_many_weights()) return kImagesAtOnceOfMany;
  return arithmetic_ == Arithmetic::bfloat16 ? kImagesAtOnceOfBf16 : kImagesAtOnce;
}

std::shared_ptr<PackedWeights> PlannedNetwork::packed_of(
    const std::vector<torch::Tensor>& parameters, bool both) {
  const std::string digest = digest_of(parameters);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (last_ != nullptr && last_->digest == digest) return last_;
  auto packed = std::make_shared<PackedWeights>();
  packed->digest = digest;
  // Only of weights that no pass reads any more: what pads the channels is zero there already.
  if (last_ != nullptr && last_.use_count() == 1) {
    packed->forward = last_->forward;
    packed->backward = last_->backward;
  } else {
    packed->forward = zeros_on_large_pages(network_.packed_floats());
  }
  const std::vector<const float*> numbers = numbers_of(parameters);
  float* const to = packed->forward.data_ptr<float>();
  if (both) {
    std::call_once(packed->backward_once,
                   [&] { network_.pack_both(numbers, to, backward_of(*packed)); });
  } else {
    network_.pack(numbers, to);
  }
  last_ = packed;
  return packed;
}

float* PlannedNetwork::backward_of(PackedWeights& packed) const {
  if (!packed.backward.defined())
    packed.backward = zeros_on_large_pages(network_.packed_backward_floats());
  return packed.backward.data_ptr<float>();
}

void PlannedNetwork::draw_masks(const Dropout& dropout, int64_t first, int64_t images,
                                uint8_t* masks) const {
  const auto threshold = static_cast<float>(dropout.probability);
  for (int64_t n = 0; n < images; ++n, masks += network_.mask_bytes()) {
    const std::vector<int64_t> slot{dropout.slots->slots[static_cast<size_t>(first + n)]};
    for (size_t layer = 0; layer < network_.masks().size(); ++layer) {
      const DropoutMask& mask = network_.masks()[layer];
      const torch::Tensor uniform =
          uniform_for_slots(dropout_key(dropout.slots->key, static_cast<int64_t>(layer)), slot,
                            {mask.channels, mask.area.height, mask.area.width}, torch::kFloat32);
      keep_at_least(uniform.const_data_ptr<float>(), threshold, mask, masks + mask.first);
    }
  }
}

torch::Tensor PlannedNetwork::forward(const torch::Tensor& x, const torch::Tensor& time,
                                      const std::vector<torch::Tensor>& parameters,
                                      const Dropout& dropout, ForwardState* state) {
  const int64_t batch = x.size(0);
  const std::shared_ptr<PackedWeights> packed = packed_of(parameters, /*both=*/state != nullptr);
  Way way;
  way.parameters = numbers_of(parameters);
  way.packed = packed.get();
  way.shifts = torch::empty({batch, network_.shifts()}, torch::kFloat32);
  if (dropout.slots != nullptr) {
    way.masks = torch::empty({batch, network_.mask_bytes()}, torch::kUInt8);
    way.dropout = dropout.probability;
  }
  if (state != nullptr) {
    way.values = kept_values_.lend(batch * network_.value_floats());
    way.statistics = torch::empty({batch, network_.statistics()}, torch::kFloat64);
    *state = {way.values, way.statistics, way.masks, packed};
  }
  network_.project_time(way.pass(network_, 0, batch), padded_time(time).data_ptr<float>());

  const torch::Tensor y = torch::empty({batch, out_channels_, x.size(2), x.size(3)}, x.options());
  over_batch(batch, images_at_once(), [&](int64_t first, int64_t images) {
    if (way.masks.defined()) {
      draw_masks(dropout, first, images,
                 way.masks.data_ptr<uint8_t>() + first * network_.mask_bytes());
    }
    forward_over(way, first, images, x, y);
  });
  return y;
}

void PlannedNetwork::forward_over(const Way& way, int64_t first, int64_t images,
                                  const torch::Tensor& x, const torch::Tensor& y) const {
  Pass pass = way.pass(network_, first, images);
  torch::Tensor values, statistics;
  if (!way.values.defined()) {
    values = values_.lend(images * network_.value_floats());
    statistics = torch::empty({images, network_.statistics()}, torch::kFloat64);
    pass.values = {values.data_ptr<float>(), network_.value_floats()};
    pass.statistics = statistics.data_ptr<double>();
  }
  const View in = pass.values.view(network_.input()), out = pass.values.view(network_.output());
  const int64_t pixels = in.area.pixels();
  for (int64_t n = 0; n < images; ++n) {
    copy_in(x.const_data_ptr<float>() + (first + n) * in_channels_ * pixels, in_channels_,
            in.from_image(n));
  }
  network_.forward(pass);
  for (int64_t n = 0; n < images; ++n) {
    copy_out(out.from_image(n), out_channels_,
             y.data_ptr<float>() + (first + n) * out_channels_ * pixels);
  }
}

std::unique_ptr<BackwardPass> PlannedNetwork::backward(BackwardInput input) {
  PackedWeights& packed = *input.state.packed;
  std::call_once(packed.backward_once, [&] {
    network_.pack_backward(numbers_of(input.parameters), backward_of(packed));
  });
  return std::make_unique<BackwardPass>(network_, gradients_, sums_, images_at_once(),
                                        std::move(input));
}

}  // namespace scorenet::models::cpu
