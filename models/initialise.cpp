#include "models/initialise.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <cmath>

#include "framework/core/random.hpp"

namespace scorenet::models {
namespace {

// FNV-1a, cut to the non-negative int64 that a slot is.
int64_t hash_of(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return static_cast<int64_t>(hash >> 1);
}

bool ends_with_any(const std::string& name, const std::vector<std::string>& suffixes) {
  return std::any_of(suffixes.begin(), suffixes.end(),
                     [&](const std::string& suffix) { return name.ends_with(suffix); });
}

torch::Tensor draw(const torch::Tensor& like, const std::string& name, uint64_t seed,
                   WeightLaw law) {
  const RandomKey key{seed, RandomStream::initial_weights, 0};
  const std::vector<int64_t> slot{hash_of(name)};
  // A kernel (out, in, ...) has in * area inputs and out * area outputs.
  const double area = static_cast<double>(like.numel() / (like.size(0) * like.size(1)));
  const double fan_in = static_cast<double>(like.size(1)) * area;
  const double fan_out = static_cast<double>(like.size(0)) * area;
  if (name.ends_with("class_embedding.weight")) {
    return 0.02 * normal_for_slots(key, slot, like.sizes(), torch::kFloat32)[0];
  }
  if (law == WeightLaw::lecun_normal) {
    return normal_for_slots(key, slot, like.sizes(), torch::kFloat32)[0] / std::sqrt(fan_in);
  }
  const double bound = std::sqrt(6.0 / (fan_in + fan_out));
  return (2 * uniform_for_slots(key, slot, like.sizes(), torch::kFloat32)[0] - 1) * bound;
}

}  // namespace

void initialise_weights(torch::nn::Module& module, uint64_t seed, WeightLaw law,
                        const std::vector<std::string>& zero_suffixes) {
  const torch::NoGradGuard no_grad;
  for (auto& item : module.named_parameters()) {
    const std::string& name = item.key();
    torch::Tensor& parameter = item.value();
    if (ends_with_any(name, zero_suffixes)) {
      parameter.zero_();
    } else if (parameter.dim() < 2) {
      parameter.fill_(name.ends_with("weight") ? 1.0 : 0.0);
    } else {
      parameter.copy_(draw(parameter, name, seed, law));
    }
  }
}

}  // namespace scorenet::models
