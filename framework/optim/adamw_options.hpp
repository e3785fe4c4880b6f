// The options of AdamW. The config holds this struct itself, so it knows nothing of LibTorch.
#pragma once

namespace scorenet::optim {

/// Keys of the config table [train]: beta1, beta2, adam_eps, weight_decay, clip_norm.
struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.99;
  double eps = 1e-8;
  double weight_decay = 0.0;  // of matrices and kernels alone (decays() in adamw.hpp)
  double clip_norm = 1.0;     // 0: no clipping
};

}  // namespace scorenet::optim
