// The Python and the words of a pipeline's folder (diffusers_pipeline.hpp).
#pragma once

#include <cstdint>
#include <string>

namespace scorenet::score {

struct PipelineFacts {
  std::string prediction;
  double sigma_data = 0.5;
  int64_t num_classes = 0;
  double prior_deviation = 1;
  std::string schedule;  // its name
  int64_t steps = 0;     // of its scheduler; 0: it has none
  std::string levels = "None";
};

/// pipeline.py.
std::string pipeline_text(const PipelineFacts& facts);

/// README.md: how to sample from the folder, and what the network is told.
std::string pipeline_readme(const PipelineFacts& facts, bool says_variance);

}  // namespace scorenet::score
