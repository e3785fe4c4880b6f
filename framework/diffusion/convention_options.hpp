// What a network from elsewhere expects and returns, as words of a config. The config holds this
// struct itself, so it knows nothing of LibTorch; convention.hpp gives the words their meaning.
#pragma once

#include <string>
#include <vector>

#include "framework/diffusion/discrete_steps.hpp"

namespace scorenet::diffusion {

/// A word that is left open: as the convention says.
inline constexpr const char* kOpen = "auto";

/// Keys of the config table [model] for type = torchscript.
struct ConventionOptions {
  std::string name = "none";          // model.convention
  std::string level = kOpen;          // what forward's second argument is
  std::string input_scaling = kOpen;  // the scale of its first
  std::string output = kOpen;         // what it returns
  std::string variance = kOpen;       // "none", or "learned": a second tensor behind the first
  std::string label_form = kOpen;     // "index" or "one_hot"
  /// Whose time the levels "t", "1-t", "999t", "1000t" are; open: that of diffusion.schedule.
  std::string level_schedule = kOpen;
  std::string check = "refuse";  // of the convention on itself: "refuse", "warn" or "off"
  std::string file_digest;       // of model.file; "": written by the program
};

/// The same with no word left open, but perhaps level_schedule; check and file_digest as they are.
/// Throws ConfigError naming the key that is unknown, or that neither the convention nor the config
/// gives.
ConventionOptions resolved(const ConventionOptions& options);

/// What training and evaluation with this convention are set to, where the config says nothing.
struct ConventionDefaults {
  std::string schedule;
  std::string prediction;
  bool learned_variance = false;
  bool numbered = false;  // the level is the number of a step
};

/// steps: the numbered ones. schedule: "" or the name that the config gives. Throws as resolved.
ConventionDefaults defaults_of(const ConventionOptions& options, const DiscreteSteps& steps,
                               const std::string& schedule);

std::vector<std::string> convention_names();
std::vector<std::string> level_names();
std::vector<std::string> input_scaling_names();
std::vector<std::string> output_names();

}  // namespace scorenet::diffusion
