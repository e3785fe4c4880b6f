#include "models/cpu/network.hpp"

#include <algorithm>

#include "models/cpu/layers.hpp"

namespace scorenet::models::cpu {
namespace {

constexpr int64_t kManyFloats = int64_t{8} << 20;

}  // namespace

Network::~Network() = default;

bool Network::has_many_weights() const { return whole_blocks(sums_) > kManyFloats; }

int64_t Network::time_channels() const { return time_->made->shape().real_in_channels(); }

void Network::pack(const std::vector<const float*>& parameters, float* packed) const {
  for (const PlacedConvolution& c : convolutions_)
    c.made->pack_forward(parameters, packed + c.packed);
}

void Network::pack_backward(const std::vector<const float*>& parameters, float* packed) const {
  for (const PlacedConvolution& c : convolutions_)
    c.made->pack_backward(parameters, packed + c.packed_backward);
}

void Network::pack_both(const std::vector<const float*>& parameters, float* packed,
                        float* packed_backward) const {
  for (const PlacedConvolution& c : convolutions_)
    c.made->pack_both(parameters, packed + c.packed, packed_backward + c.packed_backward);
}

namespace {

// The rows of a matrix as the pixels of one image.
View rows_as_pixels(float* first, int64_t rows, int64_t row) {
  return {first, row, 0, 0, row, {1, rows}};
}

}  // namespace

void Network::project_time(const Pass& pass, float* time) const {
  Pass whole = pass;
  whole.images = 1;
  time_->forward(whole, rows_as_pixels(time, pass.images, whole_blocks(time_channels())),
                 rows_as_pixels(pass.shifts, pass.images, shifts_), nullptr);
}

void Network::project_time_backward(const Pass& pass, float* time, float* time_gradient) const {
  Pass whole = pass;
  whole.images = 1;
  const View d = rows_as_pixels(pass.shift_gradients, pass.images, shifts_);
  const int64_t row = whole_blocks(time_channels());
  whole.first_of_sums = true;
  const View d_time = rows_as_pixels(time_gradient, pass.images, row);
  time_->backward(whole, rows_as_pixels(time, pass.images, row), d, &d_time, nullptr);
}

void Network::forward(const Pass& pass) const {
  for (const auto& layer : layers_) layer->forward(pass);
}

void Network::backward(const Pass& pass) const {
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) (*layer)->backward(pass);
}

void Network::backward(const Pass& pass, int64_t layer) const {
  layers_[static_cast<size_t>(layer)]->backward(pass);
}

void Network::write_gradients(int64_t layer, const float* sums, const double* vectors,
                              const std::vector<float*>& gradients) const {
  const auto write = [&](int64_t parameter, const double* from, int64_t count) {
    std::transform(from, from + count, gradients[static_cast<size_t>(parameter)],
                   [](double x) { return static_cast<float>(x); });
  };
  const LayerParts& parts = parts_[static_cast<size_t>(layer)];
  for (const PlacedConvolution* c : parts.convolutions) {
    c->made->write_weight_gradient(sums + c->sums, gradients);
    if (c->bias < 0) continue;
    for (const Part& part : c->made->shape().out) {
      write(part.bias, vectors + c->bias + part.position, part.channels);
      if (part.more_bias >= 0)
        write(part.more_bias, vectors + c->bias + part.position, part.channels);
    }
  }
  for (const PlacedNorm* norm : parts.norms) {
    write(norm->weight, vectors + norm->vectors, norm->made.channels());
    write(norm->bias, vectors + norm->vectors + norm->made.channels(), norm->made.channels());
  }
}

}  // namespace scorenet::models::cpu
