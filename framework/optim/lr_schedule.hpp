// The learning rate as a function of the step: linear warm-up, then one of four laws.
#pragma once

#include <cstdint>
#include <string>

namespace scorenet::optim {

struct LrScheduleOptions {
  /// After warm-up, with k the step and n the last: constant: 1; linear: falls from 1 to
  /// final_fraction at n; cosine: the same along half a cosine (Loshchilov & Hutter 2017,
  /// 1608.03983, eq. 5); inverse_sqrt:
  /// 1 / sqrt(max(k / reference_step, 1)) (Karras et al. 2024, 2312.02696).
  std::string law = "constant";
  double learning_rate = 2e-4;    // the peak
  int64_t warmup_steps = 500;     // 0: none
  int64_t total_steps = 0;        // n; needed by linear and cosine
  int64_t reference_step = 1000;  // of inverse_sqrt, at least 1
  double final_fraction = 0.0;    // of linear and cosine, in [0, 1]
};

/// The rate of step k = 0, 1, ...; during warm-up (k + 1) / warmup_steps of the peak, so that the
/// first step already moves. Throws ConfigError naming the value for an unknown law
/// (listing the known), or one that is out of range.
double learning_rate_at(const LrScheduleOptions& options, int64_t step);

}  // namespace scorenet::optim
