#include "framework/config/convention_rules.hpp"

#include "framework/core/error.hpp"

namespace scorenet::config {
namespace {

constexpr int64_t kUsualSteps = 1000;

void take_defaults(Config& config) {
  ModelConfig& m = config.model;
  DiffusionConfig& d = config.diffusion;
  const auto defaults =
      diffusion::defaults_of(m.convention, m.numbered, d.schedule_given ? d.schedule.name : "");
  if (defaults.numbered && m.numbered.steps == 0) m.numbered.steps = kUsualSteps;
  if (!d.schedule_given && !defaults.schedule.empty()) d.schedule.name = defaults.schedule;
  if (!d.schedule_given && !d.betas_given && defaults.numbered) {
    // The continuous law with the same levels (DDPM's: beta(t) = steps times that of a step).
    d.schedule.beta_min = static_cast<double>(m.numbered.steps) * m.numbered.beta_min;
    d.schedule.beta_max = static_cast<double>(m.numbered.steps) * m.numbered.beta_max;
  }
  if (!d.prediction_given) d.prediction = defaults.prediction;
  if (!d.loss_given) d.loss = defaults.learned_variance ? "hybrid" : DiffusionConfig().loss;
  if (d.loss == "hybrid" && d.train_steps == 0 && !d.loss_given) {
    d.train_steps = m.numbered.steps > 0 ? m.numbered.steps : kUsualSteps;
  }
}

// What the config of such a network says of networks that are built here.
void check_foreign_keys(const ModelConfig& m, std::vector<std::string>& out) {
  const ModelConfig usual;
  const char* key = nullptr;
  if (m.dropout != usual.dropout) key = "model.dropout";
  if (m.padding != usual.padding) key = "model.padding";
  if (m.recompute != usual.recompute) key = "model.recompute";
  if (m.fourier_features != usual.fourier_features) key = "model.fourier_features";
  if (key) {
    out.push_back(std::string(key) +
                  " with model.type = torchscript: such a network is what its file says, and this "
                  "key is for networks that are built here. Leave it out.");
  }
}

void check_told(const Config& config, std::vector<std::string>& out) {
  int told = config.model.num_classes > 0 ? 1 : 0;
  bool numbers = false, fields = false;
  for (const auto& condition : config.conditions) (condition.is_field() ? fields : numbers) = true;
  told += numbers + fields;
  if (told > 1) {
    out.push_back(
        "model.type = torchscript with more than one of labels, vector and field conditions: "
        "forward(x, level, third) is told one thing. Keep one of them.");
  }
}

}  // namespace

void follow_convention(Config& config) {
  if (config.model.type != "torchscript") return;
  try {
    take_defaults(config);
  } catch (const ConfigError&) {  // convention_problems says it
  }
}

std::vector<std::string> convention_problems(const Config& config) {
  std::vector<std::string> out;
  const ModelConfig& m = config.model;
  if (m.type != "torchscript") {
    if (m.convention.name != "none") {
      out.push_back("model.convention = " + m.convention.name + " with model.type = " + m.type +
                    ": a convention belongs to model.type = torchscript. Set that, or leave it "
                    "out.");
    }
    return out;
  }
  if (m.file.empty()) {
    out.push_back(
        "model.file is empty: model.type = torchscript needs the network's file. "
        "launch/export_network.py writes one from a PyTorch module.");
  }
  check_foreign_keys(m, out);
  check_told(config, out);
  try {
    const auto words = diffusion::resolved(m.convention);
    if (words.variance != "learned" && config.diffusion.loss == "hybrid") {
      out.push_back(
          "diffusion.loss = hybrid with model.variance = none: the network returns no reverse "
          "variance that the loss could learn. Set another loss, or model.variance = learned.");
    }
  } catch (const ConfigError& error) {
    out.emplace_back(error.what());
  }
  return out;
}

}  // namespace scorenet::config
