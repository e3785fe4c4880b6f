// A 3x3 convolution in float32 by Winograd's tiles (winograd.hpp).
#pragma once

#include <vector>

#include "models/cpu/convolution.hpp"

namespace scorenet::models::cpu {

/// The side of the tiles with which a WinogradConvolution is the fastest, 2 or 4; 0: it is not, by
/// its channels or its size.
int64_t winograd_side(const ConvolutionShape& shape);

class WinogradConvolution : public Convolution {
 public:
  /// REQUIRES winograd_side(shape) > 0.
  explicit WinogradConvolution(ConvolutionShape shape);

  void pack_backward(const std::vector<const float*>& parameters, float* to) const override;
  void forward(const float* packed, const Operand& x, const View& y, int64_t images,
               const Epilogue& epilogue) const override {
    run(packed, x.view, y, images, epilogue);
  }
  void input_gradient(const float* packed_backward, const Operand& d_y, const View& d_x,
                      int64_t images, const View* residual) const override {
    run(packed_backward, d_y.view, d_x, images, {nullptr, 0, residual});
  }
  void add_weight_gradient(const Operand& x, const Operand& d_y, int64_t images, bool first,
                           float* sums) const override;
  void write_weight_gradient(const float* sums,
                             const std::vector<float*>& gradients) const override;

 protected:
  void pack_weights(const std::vector<const float*>& parameters, float* to) const override;

 private:
  void run(const float* packed, const View& x, const View& y, int64_t images,
           const Epilogue& epilogue) const;

  int64_t side_, planes_;
};

}  // namespace scorenet::models::cpu
