// The paths that hbar-elbo and hbar-iw have in common: drawn once for each batch of one evaluation,
// whoever asks first.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "framework/diffusion/likelihood/hbar_elbo.hpp"

namespace scorenet::evaluate {

class SharedPaths {
 public:
  using Paths = std::vector<diffusion::HbarLikelihood>;

  /// What `draw` gives for the examples x at these slots, or gave before. Several threads may ask
  /// for different batches.
  Paths of(const torch::Tensor& x, const std::vector<int64_t>& slots,
           const std::function<Paths()>& draw);

 private:
  std::mutex mutex_;
  // by digest: a result is some numbers an example, x may be an image
  std::map<std::string, Paths> drawn_;
};

}  // namespace scorenet::evaluate
