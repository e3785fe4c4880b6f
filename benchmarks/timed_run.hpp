// What programs share that time a config's network: a config without its data file, the device at
// hand, and its clock.
#pragma once

#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <iostream>
#include <string>
#include <vector>

#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/allocator.hpp"
#include "framework/core/error.hpp"
#include "models/instruction_limit.hpp"

namespace scorenet::benchmark {

/// What each of these programs is told.
struct TimedOptions {
  std::string config_path;
  std::vector<int64_t> shape = {3, 32, 32};
  int64_t batch = 0;  // 0: the config's
};

/// The main function of such a program. app: with its own options; those of TimedOptions, from
/// which Options derives, are added. run: gets what else stands on the command line, the config's
/// keys.
template <typename Options>
int timed_main(int argc, char** argv, CLI::App& app, Options& o,
               int (*run)(const Options&, const std::vector<std::string>&)) {
  tune_allocator();
  models::extend_instruction_limit();
  app.add_option("config", o.config_path, "experiment (TOML); its data file is not read")
      ->required();
  app.add_option("--shape", o.shape, "of an image: C,H,W")->delimiter(',')->expected(3);
  app.add_option("--batch", o.batch, "images at once; default: train.batch_size");
  app.allow_extras();
  CLI11_PARSE(app, argc, argv);
  try {
    return run(o, app.remaining());
  } catch (const Error& e) {
    std::cerr << e.what() << std::endl;
    return static_cast<int>(e.exit_code());
  }
}

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
