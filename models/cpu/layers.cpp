#include "models/cpu/layers.hpp"

#include <ATen/Parallel.h>

#include "models/cpu/norm.hpp"

namespace scorenet::models::cpu {
namespace {

// sum[c] += over images and pixels, image after image.
void add_channel_sums(const View& x, int64_t images, double* sum) {
  const auto channels = static_cast<size_t>(x.channels);
  std::vector<double> of_images(channels * static_cast<size_t>(images));
  at::parallel_for(0, images, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      channel_sums(x.from_image(n), of_images.data() + static_cast<size_t>(n) * channels, nullptr);
  });
  for (size_t i = 0; i < of_images.size(); ++i) sum[i % channels] += of_images[i];
}

}  // namespace

void PlacedConvolution::forward(const Pass& pass, const Operand& x, const View& y,
                                const View* residual) const {
  const float* weights = pass.packed + packed;
  made->forward(weights, x, y, pass.images, {made->bias(weights), 0, residual});
}

void PlacedConvolution::forward_shifted(const Pass& pass, const Operand& x, const View& y,
                                        int64_t shift) const {
  made->forward(pass.packed + packed, x, y, pass.images,
                {pass.shifts + shift, pass.shifts_of_image, nullptr});
}

Operand PlacedConvolution::prepared(const Pass& pass, const Operand& d_y,
                                    torch::Tensor& memory) const {
  return made->prepared(d_y, pass.images, memory);
}

void PlacedConvolution::backward(const Pass& pass, const Operand& x, const Operand& d_y,
                                 const View* d_x, const View* residual) const {
  torch::Tensor memory;
  const Operand d = prepared(pass, d_y, memory);
  if (pass.sums != nullptr) {
    made->add_weight_gradient(x, d, pass.images, pass.first_of_sums, pass.sums + sums);
    if (bias >= 0) add_channel_sums(d_y.view, pass.images, pass.vectors + bias);
  }
  if (d_x != nullptr)
    made->input_gradient(pass.packed_backward + packed_backward, d, *d_x, pass.images, residual);
}

GroupNorm::Parameters PlacedNorm::parameters_of(const Pass& pass) const {
  return {(*pass.parameters)[static_cast<size_t>(weight)],
          (*pass.parameters)[static_cast<size_t>(bias)]};
}

void PlacedNorm::forward(const Pass& pass, const Place& x, const Place& y, const Mask& mask) const {
  made.forward(parameters_of(pass), pass.values.view(x), pass.values.operand(y), pass.images,
               {pass.statistics + statistics, pass.statistics_of_image}, mask);
}

void PlacedNorm::backward(const Pass& pass, const Place& x, const Place& d_y, const Place& d_x,
                          const std::vector<const View*>& more, int64_t shift) const {
  GroupNorm::Gradients gradients;
  if (pass.vectors != nullptr) {
    gradients.weight = pass.vectors + vectors;
    gradients.bias = pass.vectors + vectors + made.channels();
  }
  if (shift >= 0) {
    gradients.sums = pass.shift_gradients + shift;
    gradients.sums_image = pass.shifts_of_image;
  }
  made.backward(parameters_of(pass), pass.values.view(x), pass.gradients.view(d_y),
                pass.gradients.operand(d_x), more, pass.images,
                {pass.statistics + statistics, pass.statistics_of_image}, gradients);
}

void ConvolutionLayer::forward(const Pass& pass) const {
  c_.forward(pass, pass.values.operand(x_.value), pass.values.view(y_.value), nullptr);
}

void ConvolutionLayer::backward(const Pass& pass) const {
  const View d_y = pass.gradients.view(y_.gradient), d_x = pass.gradients.view(x_.gradient);
  c_.backward(pass, pass.values.operand(x_.value), d_y,
              !x_.is_input || pass.input_wanted ? &d_x : nullptr, x_.joined ? &d_x : nullptr);
}

void NormLayer::forward(const Pass& pass) const { norm_.forward(pass, x_.value, y_.value); }

void NormLayer::backward(const Pass& pass) const {
  norm_.backward(pass, x_.value, y_.gradient, x_.gradient, {}, -1);
}

Mask ResidualLayer::mask_of(const Pass& pass) const {
  if (pass.masks == nullptr) return {};
  return {pass.masks + p_.mask, pass.masks_of_image, pass.mask_factor};
}

void ResidualLayer::forward(const Pass& pass) const {
  const View x = pass.values.view(x_.value), y = pass.values.view(y_.value);
  p_.norm1.forward(pass, x_.value, p_.normed1);
  p_.conv1.forward_shifted(pass, pass.values.operand(p_.normed1), pass.values.view(p_.hidden),
                           p_.shift);
  p_.norm2.forward(pass, p_.hidden, p_.normed2, mask_of(pass));
  if (p_.shortcut != nullptr) p_.shortcut->forward(pass, x, y, nullptr);
  p_.conv2.forward(pass, pass.values.operand(p_.normed2), y, p_.shortcut != nullptr ? &y : &x);
}

void ResidualLayer::backward(const Pass& pass) const {
  const View d_x = pass.gradients.view(x_.gradient), d_in = pass.gradients.view(p_.d_in);
  const View d_y = pass.gradients.view(y_.gradient);
  const View d_normed = pass.gradients.view(p_.d_normed);
  torch::Tensor memory;  // conv2 and the shortcut read d_y alike
  const Operand d = p_.conv2.prepared(pass, d_y, memory);
  p_.conv2.backward(pass, pass.values.operand(p_.normed2), d, &d_normed, nullptr);
  const Mask mask = mask_of(pass);
  for (int64_t n = 0; n < pass.images; ++n) mask.apply(d_normed.from_image(n), n);
  p_.norm2.backward(pass, p_.hidden, p_.d_normed, p_.d_hidden, {}, p_.shift);
  p_.conv1.backward(pass, pass.values.operand(p_.normed1), pass.gradients.operand(p_.d_hidden),
                    &d_in, nullptr);
  std::vector<const View*> more;
  if (p_.shortcut != nullptr) {
    p_.shortcut->backward(pass, pass.values.view(x_.value), d, &d_x, x_.joined ? &d_x : nullptr);
    more = {&d_x};
  } else {
    more = {&d_y};
    if (x_.joined) more.push_back(&d_x);
  }
  p_.norm1.backward(pass, x_.value, p_.d_in, x_.gradient, more, -1);
}

AttentionViews AttentionLayer::views(const Window& window, const Place& q_k_v,
                                     const Place& mixed) const {
  const int64_t channels = mixed.channels;
  return {window.view(q_k_v.slice(0, channels)), window.view(q_k_v.slice(channels, channels)),
          window.view(q_k_v.slice(2 * channels, channels)), window.view(mixed)};
}

void AttentionLayer::forward(const Pass& pass) const {
  const View x = pass.values.view(x_.value);
  p_.norm.forward(pass, x_.value, p_.normed);
  p_.in.forward(pass, pass.values.operand(p_.normed), pass.values.view(p_.q_k_v), nullptr);
  attend(views(pass.values, p_.q_k_v, p_.mixed), p_.heads, p_.arithmetic, pass.images);
  p_.out.forward(pass, pass.values.view(p_.mixed), pass.values.view(y_.value), &x);
}

void AttentionLayer::backward(const Pass& pass) const {
  const View d_y = pass.gradients.view(y_.gradient), d_x = pass.gradients.view(x_.gradient);
  const View d_q_k_v = pass.gradients.view(p_.d_q_k_v);
  const View d_mixed = pass.gradients.view(p_.d_mixed);
  const View d_normed = pass.gradients.view(p_.d_normed);
  p_.out.backward(pass, pass.values.view(p_.mixed), d_y, &d_mixed, nullptr);
  attend_gradient(views(pass.values, p_.q_k_v, p_.mixed),
                  views(pass.gradients, p_.d_q_k_v, p_.d_mixed), p_.heads, p_.arithmetic,
                  pass.images);
  p_.in.backward(pass, pass.values.operand(p_.normed), d_q_k_v, &d_normed, nullptr);
  std::vector<const View*> more{&d_y};
  if (x_.joined) more.push_back(&d_x);
  p_.norm.backward(pass, x_.value, p_.d_normed, x_.gradient, more, -1);
}

}  // namespace scorenet::models::cpu
