// Where a phase of a convolution (taps.hpp) writes image n, and what is added to it.
#pragma once

#include "models/cpu/convolution.hpp"
#include "models/cpu/tiles.hpp"

namespace scorenet::models::cpu {

Target target_of(const Phase& phase, const View& y, const Epilogue& epilogue, int64_t n);

}  // namespace scorenet::models::cpu
