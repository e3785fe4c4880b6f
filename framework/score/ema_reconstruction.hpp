// Averages of any width after training, from the snapshots of a few power profiles (EDM2: Karras et
// al. 2024, 2312.02696, section 3.2 and its algorithm 3).
//
// A power average at time t weighs the past by p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1) on
// [0, t]. Averages are linear in the weights. So an average with the profile q is approximated by
// the combination sum x_i p_i that is nearest to q in L2:
//     A x = b,   A_ij = <p_i, p_j>,   b_i = <p_i, q>,
//     <p_a, p_b> = (gamma_a + 1)(gamma_b + 1) / (gamma_a + gamma_b + 1)
//                  m^(gamma_a + gamma_b + 1) / (t_a^(gamma_a + 1) t_b^(gamma_b + 1)),
//     m = min(t_a, t_b).
#pragma once

#include <filesystem>
#include <vector>

namespace scorenet::score {

/// One stored average, or a wanted one.
struct PowerAverage {
  double sigma_rel;  // relative width, in (0, 0.28)
  double images;     // trained on when it was taken, > 0
};

/// The factors x of the stored averages whose sum is nearest to `wanted`; they sum to 1 up to the
/// fit's error. Throws ConfigError if nothing is stored, or if `wanted` is later than all that is.
std::vector<double> reconstruction_factors(const std::vector<PowerAverage>& stored,
                                           const PowerAverage& wanted);

/// The L2 distance of the combination from the wanted profile, relative to that profile's norm.
double reconstruction_error(const std::vector<PowerAverage>& stored, const PowerAverage& wanted,
                            const std::vector<double>& factors);

/// Writes the snapshot that a run with the profile sigma_rel would have saved at `step`
/// (-1: the last one stored). The snapshots are of one run and of power profiles (ema.powers).
/// Returns the relative error of the profile. Throws CheckpointError naming the file that is of
/// another run or profile.
double reconstruct_snapshot(const std::vector<std::filesystem::path>& snapshots, double sigma_rel,
                            int64_t step, const std::filesystem::path& out);

}  // namespace scorenet::score
