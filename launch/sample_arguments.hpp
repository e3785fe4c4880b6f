// The command line of `sample` as one value.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "launch/draw_arguments.hpp"
#include "launch/model_arguments.hpp"
#include "launch/told_arguments.hpp"

namespace scorenet::launch {

struct SampleArguments : DrawArguments {
  ModelArguments model;
  std::string seeds = "0-63", grid, outdir, hbar_schedule;
  int64_t batch = 64;
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
