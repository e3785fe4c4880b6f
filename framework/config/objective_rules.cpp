#include "framework/config/objective_rules.hpp"

#include <algorithm>
#include <sstream>

namespace scorenet::config {
namespace {

bool is_one_of(const std::string& value, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return value == name; });
}

std::string number(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

using Problems = std::vector<std::string>;

// The mean of the elbo loss alone does not depend on the schedule's inside, and its times must be
// uniform in t.
void check_learned_schedule(const DiffusionConfig& d, Problems& out) {
  if (d.schedule.name != "vdm_learned") {
    if (d.schedule.learn_ends) {
      out.push_back(
          "diffusion.learn_ends = true with diffusion.schedule = " + d.schedule.name +
          ": only vdm_learned can learn its ends. Use that schedule, or set learn_ends = false.");
    }
    return;
  }
  if (!is_one_of(d.loss, {"elbo", "likelihood"})) {
    out.push_back(
        "diffusion.loss = " + d.loss +
        " with diffusion.schedule = vdm_learned: this schedule learns from the variance of the "
        "bound, so the loss must be the bound. Use loss = elbo or likelihood, or schedule = "
        "vdm_linear.");
  }
  if (d.schedule.learn_ends && d.loss != "elbo") {
    out.push_back("diffusion.learn_ends = true with diffusion.loss = " + d.loss +
                  ": only the bound's end terms keep the ends apart. Use loss = elbo.");
  }
  if (!is_one_of(d.time_sampling, {"stratified", "uniform"})) {
    out.push_back(
        "diffusion.time_sampling = " + d.time_sampling +
        " with diffusion.schedule = vdm_learned: this schedule learns itself where times are "
        "drawn. Use stratified or uniform.");
  }
  if (d.train_steps > 0) {
    out.push_back(
        "diffusion.train_steps = " + std::to_string(d.train_steps) +
        " with diffusion.schedule = vdm_learned: the T-step bound depends on the whole schedule, "
        "not on its ends alone. Use train_steps = 0 (continuous time).");
  }
}

void check_steps(const DiffusionConfig& d, Problems& out) {
  if (d.train_steps > 0 &&
      !is_one_of(d.time_sampling, {"stratified", "uniform", "loss_second_moment"})) {
    out.push_back("diffusion.time_sampling = " + d.time_sampling +
                  " with diffusion.train_steps = " + std::to_string(d.train_steps) +
                  ": this rule draws continuous times, not steps. Use stratified, uniform or "
                  "loss_second_moment.");
  }
  if (d.loss == "hybrid" && d.train_steps == 0) {
    out.push_back(
        "diffusion.loss = hybrid with diffusion.train_steps = 0: the loss learns the reverse "
        "variance of a step. Set train_steps, for example 1000.");
  }
}

// The numbers of the log-normal law mean nothing to the others.
void check_log_normal(const DiffusionConfig& d, Problems& out) {
  if (d.time_sampling == "log_normal") return;
  const DiffusionConfig plain;
  const bool mean = d.P_mean != plain.P_mean;
  if (!mean && d.P_std == plain.P_std) return;
  out.push_back(
      (mean ? "diffusion.P_mean = " + number(d.P_mean) : "diffusion.P_std = " + number(d.P_std)) +
      " with diffusion.time_sampling = " + d.time_sampling +
      ": only log_normal draws times by it. Set time_sampling = log_normal, or leave it "
      "out.");
}

void check_divergence(const DiffusionConfig& d, Problems& out) {
  if (d.divergence_weight == 0) return;
  const std::string key = "diffusion.divergence_weight = " + number(d.divergence_weight);
  if (d.prediction != "v") {
    out.push_back(key + " with diffusion.prediction = " + d.prediction +
                  ": second-order flow matching needs the v-prediction. Use prediction = v.");
  }
  if (!is_one_of(d.schedule.name,
                 {"vp_linear", "vp_cosine", "vdm_linear", "vp_constant", "vp_ramp", "vp_tan"})) {
    out.push_back(key + " with diffusion.schedule = " + d.schedule.name +
                  ": its formula holds for fixed schedules that preserve the variance. Use one of "
                  "vp_linear vp_cosine vdm_linear vp_constant vp_ramp vp_tan.");
  }
  if (is_one_of(d.loss, {"uncertainty", "hybrid"}) || d.train_steps > 0) {
    out.push_back(
        key + " with diffusion.loss = " + d.loss +
        " and diffusion.train_steps = " + std::to_string(d.train_steps) +
        ": it needs continuous time and a loss other than uncertainty and hybrid. Change the loss "
        "or train_steps, or set divergence_weight = 0.");
  }
}

void check_classifier(const Config& c, Problems& out) {
  if (c.model.type != "classifier") return;
  if (c.model.num_classes < 2) {
    out.push_back("model.num_classes = " + std::to_string(c.model.num_classes) +
                  " with model.type = classifier: set it to the number of classes, at least 2, and "
                  "data.labels = true.");
  }
  if (c.diffusion.loss != DiffusionConfig{}.loss || c.diffusion.divergence_weight > 0) {
    out.push_back("diffusion.loss = " + c.diffusion.loss +
                  ", diffusion.divergence_weight = " + number(c.diffusion.divergence_weight) +
                  " with model.type = classifier: a classifier is trained on its cross-entropy. "
                  "Leave both out.");
  }
  if (c.diffusion.schedule.name == "vdm_learned") {
    out.push_back(
        "diffusion.schedule = vdm_learned with model.type = classifier: a classifier learns no "
        "schedule. Use vdm_linear, which has the same ends.");
  }
}

// Masked errors are those of the plain losses.
void check_missing(const Config& c, Problems& out) {
  if (c.data.missing.empty()) return;
  const std::string key = "data.missing = \"" + c.data.missing + "\" with ";
  const std::string why = ": it needs every value, and some are missing. ";
  if (is_one_of(c.diffusion.loss, {"uncertainty", "hybrid"})) {
    out.push_back(key + "diffusion.loss = " + c.diffusion.loss + why +
                  "Use loss = elbo, likelihood, simple, edm or min_snr.");
  }
  if (c.diffusion.divergence_weight > 0)
    out.push_back(key + "diffusion.divergence_weight" + why + "Leave it out.");
  if (c.diffusion.schedule.learn_ends)
    out.push_back(key + "diffusion.learn_ends = true" + why + "Leave it out.");
  if (c.model.type == "classifier")
    out.push_back(key + "model.type = classifier" + why + "Fill the values in the data.");
}

}  // namespace

std::vector<std::string> objective_problems(const Config& config) {
  Problems out;
  check_learned_schedule(config.diffusion, out);
  check_steps(config.diffusion, out);
  check_log_normal(config.diffusion, out);
  check_divergence(config.diffusion, out);
  check_classifier(config, out);
  check_missing(config, out);
  return out;
}

}  // namespace scorenet::config
