#include "framework/score/diffusers_pipeline.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "framework/score/diffusers_scheduler.hpp"
#include "framework/score/pipeline_text.hpp"
#include "models/embedding.hpp"

namespace scorenet::score {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kStepsPerNat = 25;  // of models::time_coordinate
// diffusers keeps 1 - beta in float32: cleaner levels would be rounding alone.
constexpr double kCleanest = 13.8;

// How the folder's network is sampled.
struct Route {
  bool numbered = false;      // its own steps
  bool by_scheduler = false;  // DDPMPipeline's arithmetic holds
  bool labels = false;
  bool needs_pipeline() const { return labels || !by_scheduler; }
};

Route route_of(const LoadedSnapshot& snapshot) {
  const config::Config& config = snapshot.model.config;
  const std::string& prediction = config.diffusion.prediction;
  const bool theirs = prediction == "eps" || prediction == "x0" || prediction == "v";
  Route route;
  route.numbered = config.model.numbered.steps > 0;
  route.labels = config.model.num_classes > 0;
  const auto level = snapshot.model.schedule->at(
      0.5 * (snapshot.model.schedule->t_min() + snapshot.model.schedule->t_max()), 1);
  const double variance = level.alpha.square().item<double>() + level.sigma.square().item<double>();
  route.by_scheduler = theirs && std::abs(variance - 1) < 1e-9;
  return route;
}

// log_snr_i of the steps of a network that is told the log-SNR.
std::vector<double> steps_of(const diffusion::Schedule& schedule) {
  const auto range = diffusion::log_snr_range(schedule);
  const double clean = std::min(range.clean, kCleanest);
  std::vector<double> levels{clean};
  while (levels.back() - 1 / kStepsPerNat >= range.noisy)
    levels.push_back(clean - static_cast<double>(levels.size()) / kStepsPerNat);
  return levels;
}

// diffusers rounds each step's 1 - beta to float32 and multiplies in float64: the next beta makes
// up for what those before it have lost.
std::vector<double> betas_of(const std::vector<double>& levels) {
  std::vector<double> betas;
  double product = 1;
  for (const double log_snr : levels) {
    const double wanted = 1 / (1 + std::exp(-log_snr));
    betas.push_back(std::clamp(1 - wanted / product, 1e-8, 0.999));
    product *= static_cast<double>(1.0F - static_cast<float>(betas.back()));
  }
  return betas;
}

std::string own_scheduler(const LoadedSnapshot& snapshot, const std::vector<double>& levels) {
  config::Config config = snapshot.model.config;
  config.model.numbered.steps = static_cast<int64_t>(levels.size());
  Json json = scheduler_json(config);
  json["trained_betas"] = betas_of(levels);
  json["clip_sample"] = snapshot.model.traits.kind == data::DataKind::discrete;
  return json.dump(2) + "\n";
}

// The first layer behind the embedding, for a network that is told i where it was told u_0 + i:
//     cos(w (u_0 + i)) = cos(w u_0) cos(w i) - sin(w u_0) sin(w i), and so the sine.
void turn(checkpoint::TensorMap& weights, const config::ModelConfig& model, double u_0) {
  torch::Tensor& layer = weights.at("time_embedding.linear_1.weight");
  const models::SinusoidOptions options{layer.size(1), /*cosines_first=*/true,
                                        model.unet.freq_shift};
  const auto at_shift =
      models::sinusoidal_embedding(torch::tensor({u_0}, torch::kFloat64), options, torch::kFloat64);
  const auto half = layer.size(1) / 2;
  const auto cosine = at_shift.narrow(1, 0, half), sine = at_shift.narrow(1, half, half);
  const bool first = model.unet.cosines_first;
  const auto of_cosine = layer.narrow(1, first ? 0 : half, half).to(torch::kFloat64);
  const auto of_sine = layer.narrow(1, first ? half : 0, half).to(torch::kFloat64);
  const auto turned_cosine = of_cosine * cosine + of_sine * sine;
  const auto turned_sine = of_sine * cosine - of_cosine * sine;
  weights[kUnturnedLayer] = layer;
  layer = torch::cat({first ? turned_cosine : turned_sine, first ? turned_sine : turned_cosine}, 1)
              .to(torch::kFloat32);
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

// Python's list of what the network is told, alpha and sigma, from noise to data.
std::string levels_text(const LoadedSnapshot& snapshot, bool numbered) {
  constexpr int kLevels = 256;
  const diffusion::Schedule& schedule = *snapshot.model.schedule;
  const auto range = diffusion::log_snr_range(schedule);
  const auto log_snr = torch::linspace(range.noisy, range.clean, kLevels, torch::kFloat64);
  const auto at = schedule.at(schedule.time_of(log_snr).clamp(schedule.t_min(), schedule.t_max()));
  const auto options = model_options(snapshot.model.config, 0);
  const auto told = models::time_coordinate(
      at.log_snr, numbered ? options.unet.log_snr_of_step : std::vector<double>());
  std::string text = "[\n";
  for (int i = 0; i < kLevels; ++i)
    text += "    (" + number(told[i].item<double>()) + ", " + number(at.alpha[i].item<double>()) +
            ", " + number(at.sigma[i].item<double>()) + "),\n";
  return text + "]";
}

std::string model_index(const Route& route) {
  Json json;
  json["_class_name"] = "DDPMPipeline";
  if (!route.by_scheduler) json["_class_name"] = {"pipeline", "ScorenetPipeline"};
  json["_diffusers_version"] = "0.30.0";
  json["unet"] = {"diffusers", "UNet2DModel"};
  json["scheduler"] = {nullptr, nullptr};
  if (route.by_scheduler) json["scheduler"] = {"diffusers", "DDPMScheduler"};
  return json.dump(2) + "\n";
}

// With the class that the scheduler's own file names.
std::string with_class_of(const std::string& index, const std::string& scheduler) {
  Json json = Json::parse(index);
  const Json described = Json::parse(scheduler, nullptr, /*allow_exceptions=*/false);
  if (described.is_object() && described.contains("_class_name"))
    json["scheduler"][1] = described["_class_name"];
  return json.dump(2) + "\n";
}

}  // namespace

DiffusersPipeline make_pipeline(const LoadedSnapshot& snapshot, checkpoint::TensorMap weights,
                                const std::string& kept_scheduler) {
  const config::Config& config = snapshot.model.config;
  const Route route = route_of(snapshot);
  DiffusersPipeline out;
  out.model_index = model_index(route);
  PipelineFacts facts{.prediction = config.diffusion.prediction,
                      .sigma_data = config.diffusion.sigma_data,
                      .num_classes = config.model.num_classes,
                      .prior_deviation = std::sqrt(snapshot.model.schedule->prior_variance()),
                      .schedule = config.diffusion.schedule.name};
  if (route.by_scheduler && route.numbered) {
    out.scheduler = kept_scheduler.empty() ? scheduler_json(config).dump(2) + "\n" : kept_scheduler;
    facts.steps = config.model.numbered.steps;
  } else if (route.by_scheduler) {
    const auto levels = steps_of(*snapshot.model.schedule);
    out.scheduler = own_scheduler(snapshot, levels);
    turn(weights, config.model, kStepsPerNat * (20 - levels.front()));
    facts.steps = static_cast<int64_t>(levels.size());
  } else {
    facts.levels = levels_text(snapshot, route.numbered);
  }
  if (!out.scheduler.empty()) out.model_index = with_class_of(out.model_index, out.scheduler);
  if (route.needs_pipeline()) out.pipeline = pipeline_text(facts);
  out.readme = pipeline_readme(facts, config.diffusion.loss == "hybrid");
  out.weights = std::move(weights);
  return out;
}

void turn_back(checkpoint::TensorMap& weights) {
  const auto kept = weights.find(kUnturnedLayer);
  if (kept == weights.end()) return;
  weights["time_embedding.linear_1.weight"] = kept->second;
  weights.erase(kUnturnedLayer);
}

}  // namespace scorenet::score
