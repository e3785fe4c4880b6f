// The learning rate as a function of the step: linear warm-up, then one of four laws. The config
// holds the options themselves, so this file knows nothing of LibTorch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace scorenet::optim {

/// Keys of the config table [train]: lr_schedule, learning_rate, warmup_steps.
struct LrScheduleOptions {
  /// The rate after warm-up as a fraction of the peak, at step k of n:
  ///     constant       1
  ///     linear         from 1 down to final_fraction at n
  ///     cosine         the same along half a cosine (Loshchilov & Hutter 2017, 1608.03983, eq. 5)
  ///     inverse_sqrt   1 / sqrt(max(k / reference_step, 1)) (Karras et al. 2024, 2312.02696)
  std::string law = "constant";
  double learning_rate = 2e-4;    // the peak
  int64_t warmup_steps = 500;     // 0: none
  int64_t total_steps = 0;        // n, of linear and cosine; filled in when it is known
  int64_t reference_step = 1000;  // of inverse_sqrt, at least 1
  double final_fraction = 0.0;    // of linear and cosine, in [0, 1]
};

/// The laws, in the order of the table in lr_schedule.cpp.
std::vector<std::string> lr_law_names();

/// Whether the law of this name falls until the last step, and so must know it.
bool needs_last_step(const std::string& name);

/// The rate of step k = 0, 1, .... During warm-up it is (k + 1) / warmup_steps of the peak, so the
/// first step already moves. Throws ConfigError for a value out of range, and for an unknown law
/// (the message lists the known ones).
double learning_rate_at(const LrScheduleOptions& options, int64_t step);

}  // namespace scorenet::optim
