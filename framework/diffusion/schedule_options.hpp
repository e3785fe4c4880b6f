// The options of a schedule. The config holds this struct itself, so it knows nothing of LibTorch.
#pragma once

#include <string>

namespace scorenet::diffusion {

/// The keys of the config table [diffusion] that describe a schedule; each schedule reads its own.
struct ScheduleOptions {
  std::string name = "vp_linear";
  double t_min = -1;  // -1: the schedule's own default
  double t_max = -1;
  double beta_min = 0.1;     // vp_linear, subvp
  double beta_max = 20.0;    // vp_linear, subvp
  double beta = 20.0;        // vp_constant: beta(t) = beta; vp_ramp: beta(t) = beta t
  double gamma_min = -13.3;  // vdm_*: -log_snr at t = 0
  double gamma_max = 5.0;    // vdm_*: -log_snr at t = 1
  bool learn_ends = false;   // vdm_learned: gamma_min and gamma_max are learned as well
  double sigma_min = 0.002;  // ve, edm
  double sigma_max = 80.0;   // ve, edm
};

}  // namespace scorenet::diffusion
