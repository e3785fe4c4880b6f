#include "models/cpu/convolution_target.hpp"

namespace scorenet::models::cpu {

Target target_of(const Phase& phase, const View& y, const Epilogue& epilogue, int64_t n) {
  Target target;
  target.pixel = y.at(n, phase.out_y, phase.out_x);
  target.step = phase.out_step * y.step;
  target.row = phase.out_step * y.row;
  if (epilogue.add != nullptr) target.add = epilogue.add + n * epilogue.add_image;
  if (epilogue.residual != nullptr) {
    const View& r = *epilogue.residual;
    target.residual = r.at(n, phase.out_y, phase.out_x);
    target.residual_step = phase.out_step * r.step;
    target.residual_row = phase.out_step * r.row;
  }
  return target;
}

}  // namespace scorenet::models::cpu
