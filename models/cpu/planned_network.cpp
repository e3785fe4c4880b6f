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
// Images of one sum of gradients, where several threads make several sums.
constexpr int64_t kImagesOfSum = 16;
// Sums of more than this exist once: the threads then share each layer.
constexpr int64_t kManyFloats = int64_t{8} << 20;

// f(first, images) over a batch, by all threads where there are enough images: then each runs all
// layers by itself, and else all share each layer.
template <class F>
void over_batch(int64_t images, int64_t at_once, const F& f) {
  const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  const int64_t group = std::clamp<int64_t>(images / threads, 1, at_once);
  const int64_t groups = (images + group - 1) / group;
  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) f(g * group, std::min(group, images - g * group));
  };
  if (images < threads) {
    run(0, groups);
  } else {
    at::parallel_for(0, groups, 1, run);
  }
}

std::vector<const float*> numbers_of(const std::vector<torch::Tensor>& tensors) {
  std::vector<const float*> all;
  for (const torch::Tensor& t : tensors) all.push_back(t.const_data_ptr<float>());
  return all;
}

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

// (C, H, W), dense, into channels of an image, and back.
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

}  // namespace

// All of one way through the network, forward or back.
struct PlannedNetwork::Way {
  std::vector<const float*> parameters;
  const PackedWeights* packed = nullptr;
  torch::Tensor values;      // of the whole batch, or undefined: of the images at work alone
  torch::Tensor statistics;  // (B, ...), float64
  torch::Tensor shifts;      // (B, ...)
  torch::Tensor masks;       // (B, ...), bytes; or undefined: no dropout
  double dropout = 0;        // its probability
  torch::Tensor d_shifts;
  torch::Tensor d_y, d_x;
};

// Where gradients of weights are added; null: none is wanted.
struct PlannedNetwork::Sums {
  float* weights = nullptr;
  double* vectors = nullptr;
  bool are_new = false;  // nothing is in `weights` yet
};

PlannedNetwork::PlannedNetwork(const UNetOptions& options, int64_t in_channels,
                               int64_t out_channels, Area area, Arithmetic arithmetic)
    : network_(options, in_channels, out_channels, area, arithmetic),
      arithmetic_(arithmetic),
      in_channels_(in_channels),
      out_channels_(out_channels) {}

int64_t PlannedNetwork::images_at_once() const {
  if (network_.sum_floats() > kManyFloats) return kImagesAtOnceOfMany;
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

torch::Tensor PlannedNetwork::padded_time(const torch::Tensor& time) const {
  const int64_t channels = time.size(1);
  return torch::constant_pad_nd(time, {0, whole_blocks(channels) - channels}).contiguous();
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

Pass PlannedNetwork::pass_of(const Way& way, int64_t first, int64_t images) const {
  Pass pass;
  pass.images = images;
  pass.parameters = &way.parameters;
  pass.packed = way.packed->forward.const_data_ptr<float>();
  pass.statistics_of_image = network_.statistics();
  pass.shifts_of_image = network_.shifts();
  if (way.values.defined()) {
    pass.values = {way.values.data_ptr<float>() + first * network_.value_floats(),
                   network_.value_floats()};
  }
  if (way.statistics.defined())
    pass.statistics = way.statistics.data_ptr<double>() + first * pass.statistics_of_image;
  if (way.shifts.defined())
    pass.shifts = way.shifts.data_ptr<float>() + first * pass.shifts_of_image;
  if (way.masks.defined()) {
    pass.masks_of_image = network_.mask_bytes();
    pass.masks = way.masks.const_data_ptr<uint8_t>() + first * pass.masks_of_image;
    pass.mask_factor = static_cast<float>(1.0 / (1.0 - way.dropout));
  }
  if (way.d_shifts.defined())
    pass.shift_gradients = way.d_shifts.data_ptr<float>() + first * pass.shifts_of_image;
  if (way.packed->backward.defined())
    pass.packed_backward = way.packed->backward.const_data_ptr<float>();
  return pass;
}

torch::Tensor PlannedNetwork::forward(const torch::Tensor& x, const torch::Tensor& time,
                                      const std::vector<torch::Tensor>& parameters,
                                      const Dropout& dropout, ForwardState* state) {
  const int64_t batch = x.size(0), pixels = x.size(2) * x.size(3);
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
  network_.project_time(pass_of(way, 0, batch), padded_time(time).data_ptr<float>());

  const torch::Tensor y = torch::empty({batch, out_channels_, x.size(2), x.size(3)}, x.options());
  over_batch(batch, images_at_once(), [&](int64_t first, int64_t images) {
    if (way.masks.defined()) {
      draw_masks(dropout, first, images,
                 way.masks.data_ptr<uint8_t>() + first * network_.mask_bytes());
    }
    Way own = way;
    Pass pass = pass_of(way, first, images);
    if (state == nullptr) {
      own.values = values_.lend(images * network_.value_floats());
      own.statistics = torch::empty({images, network_.statistics()}, torch::kFloat64);
      pass.values = {own.values.data_ptr<float>(), network_.value_floats()};
      pass.statistics = own.statistics.data_ptr<double>();
    }
    const View in = pass.values.view(network_.input()), out = pass.values.view(network_.output());
    for (int64_t n = 0; n < images; ++n) {
      copy_in(x.const_data_ptr<float>() + (first + n) * in_channels_ * pixels, in_channels_,
              in.from_image(n));
    }
    network_.forward(pass);
    for (int64_t n = 0; n < images; ++n) {
      copy_out(out.from_image(n), out_channels_,
               y.data_ptr<float>() + (first + n) * out_channels_ * pixels);
    }
  });
  return y;
}

void PlannedNetwork::back_over(const Way& way, int64_t first, int64_t images,
                               const Sums& sums) const {
  Pass pass = pass_of(way, first, images);
  pass.sums = sums.weights;
  pass.vectors = sums.vectors;
  pass.first_of_sums = sums.are_new;
  pass.input_wanted = way.d_x.defined();
  const torch::Tensor gradients = gradients_.lend(images * network_.gradient_floats());
  pass.gradients = {gradients.data_ptr<float>(), network_.gradient_floats()};
  const View out = pass.gradients.view(network_.output_gradient());
  const View in = pass.gradients.view(network_.input_gradient());
  const int64_t pixels = out.area.pixels();
  for (int64_t n = 0; n < images; ++n) {
    copy_in(way.d_y.const_data_ptr<float>() + (first + n) * out_channels_ * pixels, out_channels_,
            out.from_image(n));
  }
  network_.backward(pass);
  for (int64_t n = 0; pass.input_wanted && n < images; ++n) {
    copy_out(in.from_image(n), in_channels_,
             way.d_x.data_ptr<float>() + (first + n) * in_channels_ * pixels);
  }
}

NetworkGradients PlannedNetwork::backward(const torch::Tensor& d_y, const torch::Tensor& x,
                                          const torch::Tensor& time,
                                          const std::vector<torch::Tensor>& parameters,
                                          const ForwardState& state, double dropout,
                                          const Wanted& wanted) {
  const int64_t batch = x.size(0);
  Way way;
  way.parameters = numbers_of(parameters);
  way.packed = state.packed.get();
  std::call_once(state.packed->backward_once,
                 [&] { network_.pack_backward(way.parameters, backward_of(*state.packed)); });
  way.values = state.values;
  way.statistics = state.statistics;
  way.masks = state.masks;
  way.dropout = dropout;
  way.d_shifts = torch::zeros({batch, network_.shifts()}, torch::kFloat32);
  way.d_y = d_y.contiguous();
  NetworkGradients result;
  if (wanted.x) result.x = way.d_x = torch::empty_like(x, at::MemoryFormat::Contiguous);

  torch::Tensor sums, vectors;
  const int64_t rounded = whole_blocks(network_.sum_floats());
  if (wanted.parameters) {
    // Sums of a fixed number of images each, added in their order: no bit depends on the threads.
    const int64_t of_sum = rounded > kManyFloats ? batch : kImagesOfSum;
    const int64_t parts = (batch + of_sum - 1) / of_sum;
    const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    const int64_t together = parts >= threads ? threads : 1;
    for (int64_t part = 0; part < parts; part += together) {
      const int64_t now = std::min(together, parts - part);
      const torch::Tensor some =
          sums_.lend(now * rounded).narrow(0, 0, now * rounded).view({now, rounded});
      const torch::Tensor some_vectors =
          torch::zeros({now, network_.vector_numbers()}, torch::kFloat64);
      const auto run = [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t begins = (part + i) * of_sum, ends = std::min(begins + of_sum, batch);
          for (int64_t n = begins; n < ends; n += images_at_once()) {
            back_over(
                way, n, std::min(images_at_once(), ends - n),
                {some.data_ptr<float>() + i * rounded,
                 some_vectors.data_ptr<double>() + i * network_.vector_numbers(), n == begins});
          }
        }
      };
      if (now > 1) {
        at::parallel_for(0, now, 1, run);
      } else {
        run(0, now);
      }
      for (int64_t i = 0; i < now; ++i) {
        sums = part + i == 0 ? some[0] : sums.add_(some[i]);
        vectors = part + i == 0 ? some_vectors[0] : vectors.add_(some_vectors[i]);
      }
    }
  } else {
    over_batch(batch, images_at_once(),
               [&](int64_t first, int64_t images) { back_over(way, first, images, {}); });
  }
  if (wanted.parameters || wanted.time) {
    Pass pass = pass_of(way, 0, batch);
    pass.sums = wanted.parameters ? sums.data_ptr<float>() : nullptr;
    pass.vectors = wanted.parameters ? vectors.data_ptr<double>() : nullptr;
    const torch::Tensor d_time =
        torch::empty({batch, whole_blocks(network_.time_channels())}, torch::kFloat32);
    network_.project_time_backward(pass, padded_time(time).data_ptr<float>(),
                                   d_time.data_ptr<float>());
    if (wanted.time) result.time = d_time.narrow(1, 0, time.size(1));
  }
  if (wanted.parameters) {
    std::vector<float*> to;
    for (const torch::Tensor& p : parameters) {
      result.parameters.push_back(torch::empty_like(p, at::MemoryFormat::Contiguous));
      to.push_back(result.parameters.back().data_ptr<float>());
    }
    network_.write_gradients(sums.const_data_ptr<float>(), vectors.const_data_ptr<double>(), to);
  }
  return result;
}

}  // namespace scorenet::models::cpu
