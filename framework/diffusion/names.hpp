// The names by which users choose, read from the tables that give them a meaning. The config, its
// help and every message that lists them ask here. Knows nothing of LibTorch.
#pragma once

#include <string>
#include <vector>

namespace scorenet::diffusion {

std::vector<std::string> schedule_names();       // make_schedule.cpp
std::vector<std::string> prediction_names();     // parametrisation.cpp
std::vector<std::string> weighting_names();      // loss.cpp: of the squared error
std::vector<std::string> time_sampling_names();  // time_sampler.cpp: without a history of losses
std::vector<std::string> step_law_names();       // discrete_steps.cpp
std::vector<std::string> decoder_names();        // variational_bound.cpp
std::vector<std::string> sampler_names();        // sampler/sampler.cpp
std::vector<std::string> final_names();          // sampler/sampler.cpp: what a sample is

}  // namespace scorenet::diffusion
