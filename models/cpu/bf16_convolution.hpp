// A convolution as a sum of taps whose factors are rounded to bfloat16. Sums and results are
// float32.
//
// The products read an image as one matrix of pixels, with the border (pixel_planes.hpp). Every tap
// is then the same product on a shifted pointer, across the ends of the image's rows.
#pragma once

#include <vector>

#include "models/cpu/arena.hpp"
#include "models/cpu/convolution.hpp"
#include "models/cpu/pixel_planes.hpp"
#include "models/cpu/tap_weights.hpp"

namespace scorenet::models::cpu {

class Bf16Convolution : public Convolution {
 public:
  Bf16Convolution(ConvolutionShape shape, const Arenas& scratch);

  void pack_backward(const std::vector<const float*>& parameters, float* to) const override {
    pack_weights_both(parameters, nullptr, to);
  }
  void forward(const float* packed, const Operand& x, const View& y, int64_t images,
               const Epilogue& epilogue) const override;
  void input_gradient(const float* packed_backward, const Operand& d_y, const View& d_x,
                      int64_t images, const View* residual) const override;
  void add_weight_gradient(const Operand& x, const Operand& d_y, int64_t images, bool first,
                           float* sums) const override;
  void write_weight_gradient(const float* sums,
                             const std::vector<float*>& gradients) const override;
  Operand prepared(const Operand& d_y, int64_t images, torch::Tensor& memory) const override;

 protected:
  void pack_weights(const std::vector<const float*>& parameters, float* to) const override {
    pack_weights_both(parameters, to, nullptr);
  }
  void pack_weights_both(const std::vector<const float*>& parameters, float* forward,
                         float* backward) const override;

 private:
  struct Direction;  // forward, or from the result's gradient to the input's
  struct Factors;
  struct Square;

  Square square_of(const float* kernels, const ChannelRun& run, const TapRule& tap,
                   float* memory) const;
  void pack_outputs(const float* kernels, int64_t block, Bf16* to) const;
  void pack_inputs(const float* kernels, int64_t block, Bf16* to) const;

  void run(const Direction& to, const Operand& x, const View& y, int64_t images,
           const Epilogue& epilogue) const;
  void run_phase(const Direction& to, const Phase& phase, const Bf16* weights, const Bf16* x,
                 const Target& target) const;
  Factors factors(const Operand& x, const Operand& d_y, int64_t images) const;
  void add_products(const Factors& factors, int64_t rows, int64_t columns, bool first,
                    float* sums) const;

  TapRules rules_;
  std::vector<ChannelRun> runs_;  // of the blocks of `in`
  int64_t out_depth_;
  PixelPlanes x_, d_;  // as the products read x, and the gradients d_y
  Arenas scratch_;
};

}  // namespace scorenet::models::cpu
