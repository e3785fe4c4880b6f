// Exponential moving averages of the weights, several at once. Each takes one call on a flat buffer
// a step:
//     ema = decay ema + (1 - decay) weights.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

namespace scorenet::optim {

/// How fast an average forgets.
struct EmaProfile {
  enum class Kind {
    constant,   // value: decay a step, in [0, 1)
    half_life,  // value: half-life in images, > 0 (EDM: Karras et al. 2022, 2206.00364)
    // value: relative width sigma_rel in (0, 0.28), weights ~ t^gamma
    // (EDM2: Karras et al. 2024, 2312.02696, section 3.1)
    power,
  };
  Kind kind = Kind::constant;
  double value = 0;
  /// constant, half_life: the half-life is at most this fraction of the training so far (EDM's
  /// ramp-up, 0.05 there). So the average forgets the initial weights. 0: off.
  double ramp_up = 0.0;
};

/// "0.999", "500kimg", "std0.1": the profile in a snapshot's file name after "ema".
std::string ema_name(const EmaProfile& profile);

/// Where training stands when weights are averaged in.
struct EmaMoment {
  int64_t step = 0;           // updates before this one
  int64_t images_before = 0;  // images trained on before this step
  int64_t batch = 0;          // images of this step
};

/// The decay that `profile` uses at `moment`, in [0, 1). half_life: 0.5^(batch / half-life). power:
/// (1 - batch / (images_before + batch))^(gamma + 1) (2312.02696, section 3.1).
/// Throws ConfigError naming the value if the profile's is out of range.
double ema_decay(const EmaProfile& profile, const EmaMoment& moment);

/// gamma of the power profile with relative width sigma_rel: the root of
/// sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)) (2312.02696, section 3.1 and its
/// appendix). sigma_rel in (0, 0.28).
double ema_power_exponent(double sigma_rel);

/// A set of averages of one flat buffer of weights. They start as copies of it.
class EmaSet {
 public:
  EmaSet(const torch::Tensor& weights, std::vector<EmaProfile> profiles);

  void update(const torch::Tensor& weights, const EmaMoment& moment);

  /// The same with the weights of the new values, 1 - decay of each profile, read on the device:
  /// (profiles) float32. 0 leaves an average as it is.
  void update(const torch::Tensor& weights, const torch::Tensor& shares);
  /// 1 - decay of each profile.
  std::vector<double> shares(const EmaMoment& moment) const;

  const std::vector<EmaProfile>& profiles() const { return profiles_; }
  /// In the order of profiles(); same layout as the weights. Checkpoints save them, restoring
  /// copies into them.
  const std::vector<torch::Tensor>& averages() const { return averages_; }

 private:
  std::vector<EmaProfile> profiles_;
  std::vector<torch::Tensor> averages_;
};

/// While this object exists, the network holds `average` in place of its own
/// weights. The destructor restores those bit for bit, also after an
/// exception. `weights`: FlatParameters::values().
class EmaScope {
 public:
  EmaScope(torch::Tensor weights, const torch::Tensor& average);
  ~EmaScope();
  EmaScope(const EmaScope&) = delete;
  EmaScope& operator=(const EmaScope&) = delete;

 private:
  torch::Tensor weights_;
  torch::Tensor own_;
};

}  // namespace scorenet::optim
