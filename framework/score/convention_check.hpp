// Whether a network does what its convention says: its denoiser is asked at several noise levels.
//
// With x = a x0 + s eps, a^2 + s^2 = 1, and m2 the data's second moment a dimension, the best
// denoiser that is linear in x leaves, of the noise,
//
//     E|eps - eps_hat|^2 / D = a^2 m2 / (a^2 m2 + s^2),
//
// and what a network learned leaves no more: near 0 where there is much noise (eps_hat is eps, so
// E|eps_hat|^2 is near 1), at most about 1 where there is little (x0_hat is x). A network under a
// wrong convention leaves a multiple of it at one of the levels, or more than under another one.
// One with random weights does the first, too, so that it is not refused: no level shows that it
// learned anything, and no other convention fits.
#pragma once

#include <string>
#include <vector>

#include "framework/score/score_model.hpp"

namespace scorenet::score {

struct ConventionVerdict {
  enum class Kind { fits, doubtful, wrong } kind = Kind::fits;
  std::string sentence;  // with figures; "" where it fits
};

/// x0: (B, ...) data as the network sees them; undefined: there are none, and x0 = 0 with a second
/// moment of 1/4 stands for them at the noisier half of the levels: then nothing is more than
/// doubtful. given: of these examples.
/// REQUIRES model.trained().foreign.
ConventionVerdict judge_convention(const ScoreModel& model, const torch::Tensor& x0,
                                   const models::Conditions& given);

/// How many examples judge_convention should get.
int64_t examples_to_judge(c10::IntArrayRef example_shape);

/// The verdict as model.convention_check wants it. Returns what to tell the user, "" where all is
/// well. Throws ConfigError for a convention that is wrong, where that is refused. Does nothing for
/// other networks.
std::string heed_convention(const ScoreModel& model, const torch::Tensor& x0,
                            const models::Conditions& given);

}  // namespace scorenet::score
