#include "models/cpu/convolution.hpp"

#include <algorithm>
#include <utility>

#include "models/cpu/bf16_convolution.hpp"
#include "models/cpu/tap_convolution.hpp"
#include "models/cpu/winograd_convolution.hpp"

namespace scorenet::models::cpu {

int64_t ConvolutionShape::real_in_channels() const {
  return std::count_if(in.begin(), in.end(), [](int64_t c) { return c >= 0; });
}

int64_t ConvolutionShape::out_depth() const {
  int64_t depth = 0;
  for (const Part& part : out) depth = std::max(depth, part.position + part.channels);
  return depth;
}

void Convolution::pack_forward(const std::vector<const float*>& parameters, float* to) const {
  pack_weights(parameters, to);
  pack_bias(parameters, to + forward_floats_);
}

void Convolution::pack_both(const std::vector<const float*>& parameters, float* forward,
                            float* backward) const {
  pack_weights_both(parameters, forward, backward);
  pack_bias(parameters, forward + forward_floats_);
}

void Convolution::pack_weights_both(const std::vector<const float*>& parameters, float* forward,
                                    float* backward) const {
  pack_weights(parameters, forward);
  pack_backward(parameters, backward);
}

void Convolution::pack_bias(const std::vector<const float*>& parameters, float* bias) const {
  for (const Part& part : shape_.out) {
    for (int64_t o = 0; o < part.channels; ++o) {
      bias[part.position + o] = parameters[static_cast<size_t>(part.bias)][o];
      if (part.more_bias >= 0)
        bias[part.position + o] += parameters[static_cast<size_t>(part.more_bias)][o];
    }
  }
}

Operand Convolution::prepared(const Operand& d_y, int64_t, torch::Tensor&) const { return d_y; }

std::unique_ptr<Convolution> make_convolution(ConvolutionShape shape, Arithmetic arithmetic,
                                              const Arenas& scratch) {
  if (arithmetic == Arithmetic::bfloat16)
    return std::make_unique<Bf16Convolution>(std::move(shape), scratch);
  if (winograd_side(shape) > 0) return std::make_unique<WinogradConvolution>(std::move(shape));
  return std::make_unique<TapConvolution>(std::move(shape));
}

}  // namespace scorenet::models::cpu
