#include "framework/score/diffusers_scheduler.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "framework/core/error.hpp"
#include "framework/diffusion/discrete_steps.hpp"

namespace scorenet::score {
namespace {

using Json = nlohmann::ordered_json;

struct Name {
  const char* ours;
  const char* theirs;
};
constexpr Name kPredictions[] = {{"eps", "epsilon"}, {"x0", "sample"}, {"v", "v_prediction"}};
constexpr Name kLaws[] = {{"linear", "linear"},
                          {"scaled_linear", "scaled_linear"},
                          {"squared_cosine", "squaredcos_cap_v2"},
                          {"sigmoid", "sigmoid"}};

// Schedulers of DDPM's law and the betas that each takes by default.
struct KnownClass {
  const char* name;
  double beta_start = 1e-4;
  double beta_end = 0.02;
};
constexpr KnownClass kClasses[] = {{"DDPMScheduler"},
                                   {"DDIMScheduler"},
                                   {"DDPMParallelScheduler"},
                                   {"DDIMParallelScheduler"},
                                   {"PNDMScheduler"},
                                   {"DPMSolverMultistepScheduler"},
                                   {"DPMSolverSinglestepScheduler"},
                                   {"DEISMultistepScheduler"},
                                   {"UniPCMultistepScheduler"},
                                   {"EulerDiscreteScheduler"},
                                   {"EulerAncestralDiscreteScheduler"},
                                   {"LMSDiscreteScheduler"},
                                   {"HeunDiscreteScheduler", 0.00085, 0.012},
                                   {"KDPM2DiscreteScheduler", 0.00085, 0.012},
                                   {"KDPM2AncestralDiscreteScheduler", 0.00085, 0.012}};

std::string joined(const auto& entries, auto name_of) {
  std::string text;
  for (const auto& entry : entries)
    text += (text.empty() ? "" : ", ") + std::string(name_of(entry));
  return text;
}

const KnownClass& class_of(JsonKeys& keys) {
  const std::string name = keys.has("_class_name") ? keys.text("_class_name", "") : "";
  for (const KnownClass& known : kClasses)
    if (name == known.name) return known;
  keys.refuse("_class_name",
              "one of " + joined(kClasses, [](const auto& entry) { return entry.name; }),
              "Networks of other schedulers (flow matching, EDM, VE, ...) follow another law of "
              "noise and cannot be converted.");
}

std::string ours(JsonKeys& keys, const char* key, const char* otherwise, const auto& names) {
  const std::string theirs = keys.text(key, otherwise);
  for (const Name& name : names)
    if (theirs == name.theirs) return name.ours;
  keys.refuse(key, "one of " + joined(names, [](const auto& entry) { return entry.theirs; }),
              "Networks of another law cannot be converted.");
}

std::string theirs(const std::string& our_name, const std::string& key, const auto& names) {
  for (const Name& name : names)
    if (our_name == name.ours) return name.theirs;
  throw CheckpointError(key + " = " + our_name + ": diffusers' schedulers know only " +
                        joined(names, [](const auto& entry) { return entry.ours; }) +
                        ". Convert another snapshot.");
}

// The law whose first and last beta are these.
diffusion::DiscreteSteps law_through(const std::string& name, const std::vector<double>& betas) {
  diffusion::DiscreteSteps law{static_cast<int64_t>(betas.size()), name, betas.front(),
                               betas.back()};
  if (name == "squared_cosine") law.beta_min = diffusion::DiscreteSteps{}.beta_min;
  if (name == "squared_cosine") law.beta_max = diffusion::DiscreteSteps{}.beta_max;
  if (name == "sigmoid") {  // whose ends are reached at -infinity and infinity
    const double low = 1 / (1 + std::exp(6.0)), slope = 1 - 2 * low;
    const double range = (betas.back() - betas.front()) / slope;
    law.beta_min = betas.front() - range * low;
    law.beta_max = law.beta_min + range;
  }
  return law;
}

// Equal but for the rounding of float32, in which diffusers computes them.
bool same_betas(const diffusion::DiscreteSteps& law, const std::vector<double>& betas) {
  if (!(0 < law.beta_min && law.beta_min <= law.beta_max && law.beta_max < 1)) return false;
  const auto expected = diffusion::betas_of_steps(law);
  for (size_t i = 0; i < betas.size(); ++i)
    if (!(std::abs(betas[i] - expected[i]) <= 2e-6 * expected[i] + 1e-8)) return false;
  return true;
}

// Betas that are written out are taken where they are those of a law.
diffusion::DiscreteSteps law_of_betas(JsonKeys& keys, int64_t steps) {
  const auto betas = keys.numbers("trained_betas");
  if (static_cast<int64_t>(betas.size()) != steps)
    keys.refuse("trained_betas",
                "null, or as many as num_train_timesteps says, " + std::to_string(steps));
  for (const Name& name : kLaws) {
    const auto law = law_through(name.ours, betas);
    if (same_betas(law, betas)) return law;
  }
  keys.refuse("trained_betas",
              "null, or the betas of one of the laws " +
                  joined(kLaws, [](const auto& entry) { return entry.theirs; }),
              "Networks of another law cannot be converted.");
}

diffusion::DiscreteSteps read_law(JsonKeys& keys, const KnownClass& scheduler) {
  diffusion::DiscreteSteps law;
  law.steps = keys.integer("num_train_timesteps", 1000, 2, 1000000);
  law.law = ours(keys, "beta_schedule", "linear", kLaws);
  law.beta_min = keys.number("beta_start", scheduler.beta_start, 1e-12, 0.999);
  law.beta_max = keys.number("beta_end", scheduler.beta_end, 1e-12, 0.999);
  if (law.beta_max < law.beta_min) keys.refuse("beta_end", "no less than beta_start");
  return keys.has("trained_betas") ? law_of_betas(keys, law.steps) : law;
}

// What makes other noise levels, other times or another output of the same class.
void refuse_other_laws(JsonKeys& keys) {
  const std::string other = "Networks of another law cannot be converted.";
  keys.require("rescale_betas_zero_snr", false,
               "Its last step has no signal at all, and this program needs a finite log-SNR.");
  keys.require("use_flow_sigmas", false, other);
  keys.require("use_dynamic_shifting", false, other);
  keys.require("timestep_type", "discrete", other);
  keys.require("predict_epsilon", true, "Say prediction_type = \"sample\" instead.");
  keys.require("thresholding", false,
               "No sampler here thresholds; write false to convert the network without it.");
  // How a sampler steps, and notes of old versions.
  keys.ignore({"dynamic_thresholding_ratio",
               "sample_max_value",
               "skip_prk_steps",
               "solver_order",
               "algorithm_type",
               "solver_type",
               "lower_order_final",
               "euler_at_final",
               "use_karras_sigmas",
               "use_exponential_sigmas",
               "use_beta_sigmas",
               "use_lu_lambdas",
               "flow_shift",
               "final_sigmas_type",
               "lambda_min_clipped",
               "time_shift_type",
               "predict_x0",
               "disable_corrector",
               "solver_p",
               "interpolation_type",
               "sigma_min",
               "sigma_max",
               "shift_terminal",
               "tensor_format",
               "timestep_values"});
}

void read_variance(JsonKeys& keys, config::Config& config) {
  const std::string type =
      keys.has("variance_type") ? keys.text("variance_type", "") : "fixed_small";
  const bool says = config.diffusion.loss == "hybrid";
  if (says && type == "learned_range") config.diffusion.train_steps = config.model.numbered.steps;
  const bool fixed = type == "fixed_small" || type == "fixed_small_log" || type == "fixed_large" ||
                     type == "fixed_large_log";
  if (says ? type == "learned_range" : fixed) return;
  keys.refuse("variance_type",
              says ? "\"learned_range\", since config.json says out_channels = 2 in_channels"
                   : "one of fixed_small, fixed_small_log, fixed_large, fixed_large_log",
              "A network with another reverse variance cannot be converted.");
}

}  // namespace

diffusion::TrainedSteps read_trained_steps(JsonKeys& keys, const diffusion::DiscreteSteps& law) {
  diffusion::TrainedSteps trained{law};
  trained.spacing = keys.text("timestep_spacing", "leading");
  const auto known = diffusion::trained_spacings();
  if (std::find(known.begin(), known.end(), trained.spacing) == known.end())
    keys.refuse("timestep_spacing",
                "one of " + joined(known, [](const std::string& name) { return name; }));
  trained.offset = keys.integer("steps_offset", 0, 0, 1000000);
  trained.ends_clean = keys.boolean("set_alpha_to_one", true);
  const double range = keys.number("clip_sample_range", 1.0, 1e-6, 1e6);
  trained.clip = keys.boolean("clip_sample", true) ? range : 0;
  return trained;
}

void read_scheduler(JsonKeys& keys, config::Config& config) {
  const KnownClass& scheduler = class_of(keys);
  refuse_other_laws(keys);
  const diffusion::DiscreteSteps law = read_law(keys, scheduler);
  config::ModelConfig& model = config.model;
  model.numbered = law;
  config.diffusion.prediction = ours(keys, "prediction_type", "epsilon", kPredictions);
  read_variance(keys, config);
  read_trained_steps(keys, law);
  // The continuous schedule with the same levels; scaled_linear and sigmoid have none of their own
  // and need none.
  const auto n = static_cast<double>(law.steps);
  config.diffusion.schedule.name = law.law == "squared_cosine" ? "vp_cosine" : "vp_linear";
  config.diffusion.schedule.beta_min = n * law.beta_min;
  config.diffusion.schedule.beta_max = n * law.beta_max;
  keys.refuse_unknown("the options of diffusers' schedulers");
}

Json scheduler_json(const config::Config& config) {
  const config::ModelConfig& model = config.model;
  Json out;
  out["_class_name"] = "DDPMScheduler";
  out["num_train_timesteps"] = model.numbered.steps;
  out["beta_schedule"] = theirs(model.numbered.law, "model.timestep_law", kLaws);
  out["beta_start"] = model.numbered.beta_min;
  out["beta_end"] = model.numbered.beta_max;
  out["prediction_type"] =
      theirs(config.diffusion.prediction, "diffusion.prediction", kPredictions);
  out["variance_type"] = config.diffusion.loss == "hybrid" ? "learned_range" : "fixed_small";
  return out;
}

}  // namespace scorenet::score
