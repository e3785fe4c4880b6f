// How samples are drawn, on the command line: sampler and guidance. `sample` draws them to keep,
// `evaluate` to compare them with data.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "framework/diffusion/sampler/sampler.hpp"
#include "framework/evaluate/generate.hpp"
#include "launch/model_arguments.hpp"

namespace scorenet::launch {

struct DrawArguments {
  diffusion::SamplerOptions sampler;
  evaluate::GuidanceOptions guidance;
  std::string classes;  // --class as given
  std::vector<double> guidance_interval;
  std::string weak_network, classifier;
  std::string final;  // "": as the samples' shape says
  std::string corrector_norms = "example";
};

/// Where a verb has other options of these names.
struct DrawNames {
  std::string before;   // of "steps", "hbar", "rtol", "atol"
  std::string metrics;  // begins each help text
};

/// `a` must outlive the parsing.
void add_draw_options(CLI::App* verb, DrawArguments& a, const DrawNames& names = {});

/// "3", "0,3,5", "0-9": classes in this order. Throws ConfigError.
std::vector<int64_t> parse_classes(const std::string& text);

/// The models that guide; they must outlive the guidance that points to them.
struct Guides {
  std::optional<LoadedModel> weak, classifier;
};

/// Loads the guides, and fills a.guidance from what was asked for. Throws ConfigError for what
/// would change nothing, and as load_model.
void take_guidance(DrawArguments& a, Guides& guides, const std::string& precision,
                   torch::Device device);

/// What a user should know of the corrector's step before samples of this shape are drawn; "":
/// nothing.
std::string corrector_note(const DrawArguments& a, const std::vector<int64_t>& example_shape);

/// The files behind these options.
std::vector<files::NamedPath> inputs_of(const DrawArguments& a);

}  // namespace scorenet::launch
