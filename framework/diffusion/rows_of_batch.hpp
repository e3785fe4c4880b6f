// Some examples of a batch, for a denoiser that tells each example something by its place.
#pragma once

#include <torch/types.h>

#include "framework/diffusion/denoiser.hpp"

namespace scorenet::diffusion {

/// The denoiser of the examples at `rows` (b) of a batch of `batch`, made of `whole`, which knows a
/// label or a condition for each place and so must see all of them. The places between hold zeros
/// at the first row's level, and what comes out there is thrown away. Gradients pass through.
/// `whole` must outlive it. Of all rows it is `whole` itself.
Denoiser denoiser_of_rows(const Denoiser& whole, const torch::Tensor& rows, int64_t batch);

}  // namespace scorenet::diffusion
