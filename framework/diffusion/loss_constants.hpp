// Constants from the losses' papers, which the config offers as keys. Knows nothing of LibTorch.
#pragma once

namespace scorenet::diffusion {

/// EDM's standard deviation of the data (Karras et al. 2022, 2206.00364, table 1).
inline constexpr double kSigmaData = 0.5;
/// EDM's mean and standard deviation of log(sigma) in training (the same table).
inline constexpr double kLogSigmaMean = -1.2;
inline constexpr double kLogSigmaStd = 1.2;
/// min_snr: the largest weight (Hang et al. 2023, 2303.09556).
inline constexpr double kMinSnrCap = 5.0;
/// hybrid: the bound's weight (Nichol & Dhariwal 2021, 2102.09672, equation 16).
inline constexpr double kHybridWeight = 1e-3;

}  // namespace scorenet::diffusion
