#include "framework/diffusion/convention.hpp"

#include <algorithm>

#include "framework/core/check.hpp"

namespace scorenet::diffusion {
namespace {

using torch::Tensor;
using Names = std::vector<std::string>;

// Where a batch stands, the variance preserved.
struct At {
  Tensor l, a, s;
  double k;  // sigma_data
};

At at(const Tensor& log_snr, double k) {
  const Tensor l = log_snr.to(torch::kFloat64);
  return {l, torch::sigmoid(l).sqrt(), torch::sigmoid(-l).sqrt(), k};
}

struct NamedConvention {
  const char* name;
  ConventionOptions words;
  const char* schedule;
};

const std::vector<NamedConvention>& conventions() {
  const auto words = [](const char* name, const char* level, const char* input, const char* output,
                        const char* variance = "none") {
    ConventionOptions out;
    out.name = name;
    out.level = level;
    out.input_scaling = input;
    out.output = output;
    out.variance = variance;
    out.label_form = out.name == "edm" ? "one_hot" : "index";
    if (out.name == "flow") out.level_schedule = "flow";
    return out;
  };
  static const std::vector<NamedConvention> kAll = {
      {"ddpm", words("ddpm", "step", "vp", "eps"), "vp_linear"},
      {"adm", words("adm", "step", "vp", "eps", "learned"), "vp_linear"},
      {"edm", words("edm", "sigma", "ve", "x0"), "edm"},
      {"vdm", words("vdm", "gamma", "vp", "eps"), "vdm_linear"},
      {"dit", words("dit", "step", "vp", "eps", "learned"), "vp_linear"},
      {"flow", words("flow", "1-t", "flow", "velocity"), "flow"},
      {"score_sde", words("score_sde", "999t", "vp", "eps"), "vp_linear"},
  };
  return kAll;
}

// score_sde's networks of the variance-exploding kind are told the noise and return the score.
ConventionOptions of_schedule(ConventionOptions words, const std::string& schedule) {
  if (words.name != "score_sde") return words;
  if (schedule == "subvp") words.input_scaling = "subvp";
  if (schedule != "ve") return words;
  words.level = "sigma";
  words.input_scaling = "ve";
  words.output = "score";
  return words;
}

struct Level {
  const char* name;
  double factor, offset;          // of the time
  Tensor (*of)(const Tensor& l);  // null: of the time, or the table
};
const Level kLevels[] = {
    {"log_snr", 0, 0, [](const Tensor& l) { return l; }},
    {"gamma", 0, 0, [](const Tensor& l) { return -l; }},
    {"sigma", 0, 0, [](const Tensor& l) { return (-0.5 * l).exp(); }},
    {"log_sigma", 0, 0, [](const Tensor& l) { return -0.5 * l; }},
    {"c_noise", 0, 0, [](const Tensor& l) { return -0.125 * l; }},
    {"t", 1, 0, nullptr},
    {"1-t", -1, 1, nullptr},
    {"999t", 999, 0, nullptr},
    {"1000t", 1000, 0, nullptr},
    {"step", 0, 0, nullptr},
};

struct Scaling {
  const char* name;
  Tensor (*scale)(const At&);
};
const Scaling kScalings[] = {
    {"vp", [](const At& at) { return torch::ones_like(at.a); }},
    {"ve", [](const At& at) { return 1 / at.a; }},
    {"edm", [](const At& at) { return (at.s.square() + at.k * at.k * at.a.square()).rsqrt(); }},
    {"flow", [](const At& at) { return 1 / (at.a + at.s); }},
    {"subvp", [](const At& at) { return (-torch::asinh(0.5 * (-0.5 * at.l).exp())).exp() / at.a; }},
};

// x0 = p x + q out, eps = u x + w out, of the network's x and its output.
struct Linear {
  Tensor p, q, u, w;
};
struct Output {
  const char* name;
  Linear (*map)(const At&, const Tensor& score_sigma);
};
Linear from_eps(const At& at, const Tensor& factor) {  // eps = factor out
  return {1 / at.a, -at.s * factor / at.a, torch::zeros_like(at.a), factor};
}
Linear from_velocity(const At& at, double sign) {
  const Tensor sum = at.a + at.s;
  return {1 / sum, sign * at.s / sum, 1 / sum, -sign * at.a / sum};
}
const Output kOutputs[] = {
    {"x0",
     [](const At& at, const Tensor&) {
       return Linear{torch::zeros_like(at.a), torch::ones_like(at.a), 1 / at.s, -at.a / at.s};
     }},
    {"eps", [](const At& at, const Tensor&) { return from_eps(at, torch::ones_like(at.a)); }},
    {"v", [](const At& at, const Tensor&) { return Linear{at.a, -at.s, at.s, at.a}; }},
    {"score", [](const At& at, const Tensor& sigma) { return from_eps(at, -sigma); }},
    {"F",
     [](const At& at, const Tensor&) {
       const Tensor n = at.s.square() + at.k * at.k * at.a.square(), root = n.sqrt();
       return Linear{at.k * at.k * at.a / n, at.k * at.s / root, at.s / n, -at.k * at.a / root};
     }},
    {"velocity", [](const At& at, const Tensor&) { return from_velocity(at, 1); }},
    {"noise_velocity", [](const At& at, const Tensor&) { return from_velocity(at, -1); }},
};

template <typename Table>
Names names_in(const Table& table) {
  Names names;
  for (const auto& entry : table) names.emplace_back(entry.name);
  return names;
}

template <typename Table>
const auto& entry_of(const Table& table, const std::string& name) {
  return *std::find_if(std::begin(table), std::end(table),
                       [&name](const auto& entry) { return name == entry.name; });
}

std::string listed(const Names& names) {
  std::string text;
  for (const std::string& name : names) text += " " + name;
  return text;
}

void check_word(const std::string& key, const std::string& value, const Names& known) {
  if (std::count(known.begin(), known.end(), value)) return;
  if (value == kOpen) {
    throw ConfigError("model." + key +
                      " is not given: a TorchScript network says nothing of what it expects. Set "
                      "model.convention to one of" +
                      listed(convention_names()) + ", or model." + key + " to one of" +
                      listed(known) + ".");
  }
  throw ConfigError("model." + key + " = \"" + value + "\": expected one of" + listed(known) + ".");
}

bool is_time(const std::string& level) {
  const Level& entry = entry_of(kLevels, level);
  return !entry.of && level != "step";
}

// Which scaling a schedule's own x_t has.
std::string scaling_of(const std::string& schedule) {
  if (schedule == "ve" || schedule == "edm") return "ve";
  return schedule == "flow" || schedule == "subvp" ? schedule : "vp";
}

Tensor scale_named(const std::string& name, const Tensor& log_snr, double sigma_data) {
  return entry_of(kScalings, name).scale(at(log_snr, sigma_data));
}

Tensor to(const Tensor& coefficient, const Tensor& x) {
  return broadcast_to_batch(coefficient.to(x.options()), x);
}

// Between the knots of a table of -log_snr, and its ends beyond them.
Tensor step_of(const Tensor& log_snr, const Tensor& knots) {
  const Tensor table = knots.to(log_snr.device()), gamma = -log_snr;
  const Tensor right = torch::searchsorted(table, gamma.detach()).clamp(1, table.size(0) - 1);
  const Tensor low = table.index_select(0, right - 1), high = table.index_select(0, right);
  return (right - 1).to(torch::kFloat64) + ((gamma - low) / (high - low)).clamp(0.0, 1.0);
}

}  // namespace

Names convention_names() { return names_in(conventions()); }
Names level_names() { return names_in(kLevels); }
Names input_scaling_names() { return names_in(kScalings); }
Names output_names() { return names_in(kOutputs); }

namespace {

ConventionOptions resolved_for(const ConventionOptions& options, const std::string& schedule) {
  ConventionOptions words = options;
  if (options.name != "none") {
    check_word("convention", options.name, convention_names());
    const auto named = of_schedule(entry_of(conventions(), options.name).words, schedule);
    const auto fill = [](std::string& word, const std::string& from) {
      if (word == kOpen) word = from;
    };
    fill(words.level, named.level);
    fill(words.input_scaling, named.input_scaling);
    fill(words.output, named.output);
    fill(words.variance, named.variance);
    fill(words.label_form, named.label_form);
    fill(words.level_schedule, named.level_schedule);
  }
  if (words.variance == kOpen) words.variance = "none";
  if (words.label_form == kOpen) words.label_form = "index";
  check_word("level", words.level, level_names());
  check_word("input_scaling", words.input_scaling, input_scaling_names());
  check_word("output", words.output, output_names());
  check_word("variance", words.variance, {"none", "learned"});
  check_word("label_form", words.label_form, {"index", "one_hot"});
  return words;
}

}  // namespace

ConventionOptions resolved(const ConventionOptions& options) { return resolved_for(options, ""); }

ConventionDefaults defaults_of(const ConventionOptions& options, const DiscreteSteps& steps,
                               const std::string& schedule) {
  const ConventionOptions words = resolved_for(options, schedule);
  ConventionDefaults out;
  out.numbered = words.level == "step";
  out.learned_variance = words.variance == "learned";
  if (options.name != "none") out.schedule = entry_of(conventions(), options.name).schedule;
  if (out.numbered) out.schedule = steps.law == "squared_cosine" ? "vp_cosine" : "vp_linear";
  // Of these two the framework has its own names.
  out.prediction = words.output;
  if (words.output == "score") out.prediction = "eps";
  if (words.output == "velocity" || words.output == "noise_velocity") out.prediction = "v";
  return out;
}

Convention::Convention(const ConventionOptions& options, const DiscreteSteps& steps,
                       const ScheduleOptions& schedule, double sigma_data)
    : words_(resolved_for(options, schedule.name)),
      sigma_data_(sigma_data),
      schedule_(schedule.name) {
  if (words_.level == "step") table_ = -torch::tensor(log_snr_of_steps(steps), torch::kFloat64);
  if (!is_time(words_.level)) return;
  ScheduleOptions timed = schedule;
  if (words_.level_schedule != kOpen) timed.name = words_.level_schedule;
  if (timed.name != schedule.name) timed.t_min = timed.t_max = -1;
  timed_ = make_schedule(timed);
}

Tensor Convention::level(const Tensor& log_snr) const {
  const Tensor l = log_snr.to(torch::kFloat64);
  if (table_.defined()) return step_of(l, table_);
  const Level& entry = entry_of(kLevels, words_.level);
  return entry.of ? entry.of(l) : entry.offset + entry.factor * timed_->time_of(l);
}

Tensor Convention::input_scale(const Tensor& log_snr) const {
  return scale_named(words_.input_scaling, log_snr, sigma_data_);
}

Tensor Convention::schedule_scale(const Tensor& log_snr) const {
  return scale_named(scaling_of(schedule_), log_snr, sigma_data_);
}

Denoised Convention::denoised(const Tensor& output, const Tensor& x, const Tensor& log_snr) const {
  check_same_shape(x, output, "x and the network's output");
  const At now = at(log_snr, sigma_data_);
  // The sigma of what the network sees; behind EDM's c_in that of x0 + r eps.
  const std::string seen = words_.input_scaling == "edm" ? "ve" : words_.input_scaling;
  const Tensor sigma = scale_named(seen, log_snr, sigma_data_) * now.s;
  const Linear map = entry_of(kOutputs, words_.output).map(now, sigma);
  return {to(map.p, x) * x + to(map.q, x) * output, to(map.u, x) * x + to(map.w, x) * output};
}

Tensor Convention::as(Prediction prediction, const Tensor& output, const Tensor& x,
                      const Tensor& log_snr) const {
  const std::string wanted = name_of(prediction);
  const Tensor scale = schedule_scale(log_snr);
  if (wanted == words_.output && wanted != "score")
    return wanted == "v" ? to(scale, output) * output : output;
  const At now = at(log_snr, sigma_data_);
  const NoiseLevel level{scale * now.a, scale * now.s, now.l};
  const Denoised estimate = denoised(output, x, log_snr);
  return target_from({prediction, sigma_data_}, estimate.x0, estimate.eps, level);
}

std::string Convention::describe() const {
  return "level " + words_.level + ", input " + words_.input_scaling + ", output " + words_.output +
         (learned_variance() ? " and variance" : "");
}

}  // namespace scorenet::diffusion
