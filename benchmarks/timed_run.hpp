// What programs share that time a config's network: a config without its data file, the device at
// hand, and its clock.
#pragma once

#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"

namespace scorenet::benchmark {

/// The config of a file, with overrides and, if it is above zero, another batch.
inline config::Config config_of(const std::string& path, const std::vector<std::string>& overrides,
                                int64_t batch) {
  config::Config config = config::parse_file(path);
  config::apply_overrides(config, overrides);
  if (batch > 0) config.train.batch_size = batch;
  config::validate(config, 1);
  return config;
}

inline torch::Device device_at_hand() {
  if (!torch::cuda::is_available()) return torch::kCPU;
  torch::set_num_threads(1);  // as the program's verbs
  return {torch::kCUDA, 0};
}

inline void synchronize(torch::Device device) {
  if (device.is_cuda()) torch::cuda::synchronize(device.index());
}

inline double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const auto place = static_cast<size_t>(q * static_cast<double>(values.size()));
  return values[std::min(place, values.size() - 1)];
}

inline double rounded(double value) { return std::round(1e3 * value) / 1e3; }

}  // namespace scorenet::benchmark
