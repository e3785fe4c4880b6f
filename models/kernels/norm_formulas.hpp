// The arithmetic of a group norm's gradient, written once for the CUDA kernels and for the test
// that compares it with autograd in float64.
//
//     x_hat = (u - mean) r,  z = weight x_hat + bias,  y = silu(z) or z,
//     d_u = r (weight d_z - mean_1 - x_hat mean_2),
// with mean_1 and mean_2 the means over a group of weight d_z and of weight d_z x_hat.
#pragma once

#ifdef __CUDACC__
#define SCORENET_BOTH_SIDES __host__ __device__ __forceinline__
#else
#define SCORENET_BOTH_SIDES inline
#endif

namespace scorenet::models::kernels {

/// d silu(z) / d z, given s = sigmoid(z).
template <class Real>
SCORENET_BOTH_SIDES Real silu_slope(Real z, Real s) {
  return s * (Real(1) + z * (Real(1) - s));
}

/// The coefficients of one channel: d_u = scaled_weight d_z - constant - x_hat slope.
template <class Real>
struct InputGradient {
  Real scaled_weight;
  Real constant;
  Real slope;

  SCORENET_BOTH_SIDES Real operator()(Real d_z, Real x_hat) const {
    return scaled_weight * d_z - (constant + x_hat * slope);
  }
  /// The sum of d_u over the pixels of the channel, given that of d_z and the mean of x_hat there.
  SCORENET_BOTH_SIDES Real sum(Real sum_d_z, Real centre, Real pixels) const {
    return scaled_weight * sum_d_z - pixels * (constant + centre * slope);
  }
};

/// sum_1, sum_2: over the group of weight d_z and of weight d_z x_hat; count: its elements.
template <class Real>
SCORENET_BOTH_SIDES InputGradient<Real> input_gradient(Real r, Real weight, Real sum_1, Real sum_2,
                                                       Real count) {
  return {r * weight, r * sum_1 / count, r * sum_2 / count};
}

}  // namespace scorenet::models::kernels
