// The command line of `sample` as one value.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/diffusion/sampler/sampler.hpp"
#include "framework/evaluate/generate.hpp"
#include "launch/model_arguments.hpp"
#include "launch/told_arguments.hpp"

namespace scorenet::launch {

struct SampleArguments {
  ModelArguments model;
  std::string weak_network, classifier, seeds = "0-63", grid, outdir, final, hbar_schedule,
                                        corrector_norms = "example";
  diffusion::SamplerOptions sampler;
  evaluate::GuidanceOptions guidance;
  std::vector<double> guidance_interval;
  int64_t batch = 64;
  std::optional<int64_t> label;
  std::vector<int64_t> grid_channels;
  bool save_h5 = false;
  std::string like, out;
  bool force = false;
  ToldArguments told;
  bool seeds_given = false;
};

/// `a` must outlive the parsing.
void add_sample_options(CLI::App* verb, SampleArguments& a);

/// The output is a folder of pictures and samples.h5, or one file like another. Throws ConfigError
/// unless exactly one of them is asked for, with options that fit it.
void check_form(const SampleArguments& a);

}  // namespace scorenet::launch
