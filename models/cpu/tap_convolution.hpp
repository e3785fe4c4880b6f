// A convolution in float32 as a sum of taps.
#pragma once

#include <vector>

#include "models/cpu/convolution.hpp"

namespace scorenet::models::cpu {

class TapConvolution : public Convolution {
 public:
  explicit TapConvolution(ConvolutionShape shape);

  void pack_backward(const std::vector<const float*>& parameters, float* to) const override;
  void forward(const float* packed, const Operand& x, const View& y, int64_t images,
               const Epilogue& epilogue) const override;
  void input_gradient(const float* packed_backward, const Operand& d_y, const View& d_x,
                      int64_t images, const View* residual) const override;
  void add_weight_gradient(const Operand& x, const Operand& d_y, int64_t images, bool first,
                           float* sums) const override;
  void write_weight_gradient(const float* sums,
                             const std::vector<float*>& gradients) const override;

 protected:
  void pack_weights(const std::vector<const float*>& parameters, float* to) const override;

 private:
  struct Grid {
    Area area;
    int64_t depth, channels;
  };
  // The pixels of one phase. A linear layer takes any number of rows.
  Area grid_of(const View& v) const { return shape_.form == Form::point ? v.area : rules_.grid; }
  void run(const std::vector<Phase>& phases, const float* packed, const Grid& grid, const View& x,
           const View& y, int64_t images, const Epilogue& epilogue) const;

  TapRules rules_;
  int64_t out_depth_;
};

}  // namespace scorenet::models::cpu
