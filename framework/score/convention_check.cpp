#include "framework/score/convention_check.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/core/error.hpp"
#include "framework/core/random.hpp"
#include "framework/score/foreign_network.hpp"
#include "models/autocast.hpp"
#include "models/flops.hpp"

namespace scorenet::score {
namespace {

using diffusion::Convention;
using torch::Tensor;

constexpr double kAllowance = 1.5;      // times the linear denoiser's error
constexpr double kFloor = 0.05;         // of a network where the linear one's is 0
constexpr double kWrong = 4.0;          // times both: more than a poor network's
constexpr double kLearned = 0.7;        // times the linear one's: random weights never get there
constexpr int64_t kSmall = 20'000'000;  // parameters
constexpr int kLevels = 6;
constexpr double kFarthest = 8;  // log-SNR
constexpr double kUsualMoment = 0.25;

struct AtLevel {
  double log_snr, error, linear;
  double allowed() const { return kAllowance * linear + kFloor; }
};

struct Judged {
  std::vector<AtLevel> levels;

  double worst() const {
    double worst = 0;
    for (const AtLevel& at : levels) worst = std::max(worst, at.error / at.allowed());
    return worst;
  }
  bool learned() const {
    return std::any_of(levels.begin(), levels.end(), [](const AtLevel& at) {
      return at.linear > kFloor && at.error < kLearned * at.linear;
    });
  }
  const AtLevel& worst_level() const {
    return *std::max_element(levels.begin(), levels.end(), [](const AtLevel& a, const AtLevel& b) {
      return a.error / a.allowed() < b.error / b.allowed();
    });
  }
};

struct Question {
  const ScoreModel& model;
  Tensor x0, eps;
  double moment;
  std::vector<double> log_snrs;
  models::Conditions given;
};

AtLevel ask(const Question& q, const Convention& convention, double log_snr) {
  const Tensor l = torch::full({q.x0.size(0)}, log_snr,
                               torch::TensorOptions(torch::kFloat64).device(q.x0.device()));
  const double a2 = 1 / (1 + std::exp(-log_snr)), s2 = 1 / (1 + std::exp(log_snr));
  const Tensor x = std::sqrt(a2) * q.x0 + std::sqrt(s2) * q.eps;
  const models::AutocastScope scope(q.model.compute_dtype, q.model.device.type());
  const Tensor eps_hat =
      q.model.trained().foreign->denoised_by(convention, x, l, q.given).eps.to(torch::kFloat64);
  const double error = (eps_hat - q.eps).square().mean().item<double>();
  return {log_snr, std::isfinite(error) ? error : 1e30, a2 * q.moment / (a2 * q.moment + s2)};
}

Judged judge(const Question& q, const Convention& convention) {
  Judged judged;
  for (const double log_snr : q.log_snrs) judged.levels.push_back(ask(q, convention, log_snr));
  return judged;
}

// Few examples, each with several noises.
Tensor repeated(const Tensor& rows, int64_t count) {
  return rows.index_select(
      0, torch::arange(count, rows.options().dtype(torch::kInt64)).remainder(rows.size(0)));
}

Question question(const ScoreModel& model, const Tensor& x0, const models::Conditions& given) {
  const bool data = x0.defined();
  std::vector<int64_t> shape = model.example_shape;
  const int64_t batch = examples_to_judge(shape);
  const RandomKey key{0, RandomStream::initial_weights, 2};
  Question q{model, {}, {}, kUsualMoment, {}, {}};
  if (data) q.given = given.mapped([&](const Tensor& rows) { return repeated(rows, batch); });
  q.eps = normal_for_slots(key, slot_range(0, batch), shape, torch::kFloat32).to(model.device);
  q.x0 = data ? repeated(x0, batch).to(model.device, torch::kFloat32) : torch::zeros_like(q.eps);
  if (data) q.moment = std::max(1e-6, q.x0.square().mean().item<double>());
  const diffusion::LogSnrRange range = log_snr_range(*model.schedule);
  const double noisy = std::max(range.noisy, -kFarthest);
  const double clean = std::min(range.clean, data ? kFarthest : 0.0);
  for (int i = 0; i < kLevels; ++i)
    q.log_snrs.push_back(noisy + (std::max(clean, noisy + 1) - noisy) * i / (kLevels - 1));
  return q;
}

struct Candidate {
  const char* name;  // how a user asks for it
  const char* convention;
  const char *level, *input, *output, *law;
};
const Candidate kCandidates[] = {
    {"model.convention = ddpm", "ddpm", "", "", "", "linear"},
    {"model.convention = ddpm with model.timestep_law = squared_cosine", "ddpm", "", "", "",
     "squared_cosine"},
    {"model.convention = ddpm with model.output = v", "ddpm", "", "", "v", "linear"},
    {"model.convention = ddpm with model.output = x0", "ddpm", "", "", "x0", "linear"},
    {"model.convention = edm", "edm", "", "", "", "linear"},
    {"model.convention = edm with model.level = c_noise, model.input_scaling = edm, model.output = "
     "F",
     "edm", "c_noise", "edm", "F", "linear"},
    {"model.convention = vdm", "vdm", "", "", "", "linear"},
    {"model.convention = flow", "flow", "", "", "", "linear"},
    {"model.convention = flow with model.level = t, model.output = noise_velocity", "flow", "t", "",
     "noise_velocity", "linear"},
    {"model.convention = score_sde", "score_sde", "", "", "", "linear"},
};

std::optional<Convention> convention_of(const Candidate& candidate, const ScoreModel& model) {
  const auto set = [](std::string& word, const char* value) {
    if (*value) word = value;
  };
  const auto declared = model.trained().foreign->convention().words();
  diffusion::ConventionOptions words;
  words.name = candidate.convention;
  words.variance = declared.variance;
  words.label_form = declared.label_form;
  set(words.level, candidate.level);
  set(words.input_scaling, candidate.input);
  set(words.output, candidate.output);
  diffusion::DiscreteSteps steps;
  steps.law = candidate.law;
  diffusion::ScheduleOptions schedule;  // the usual one of its kind
  try {
    return Convention(words, steps, schedule, model.config.diffusion.sigma_data);
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Nowhere worse, and at some level clearly better: what a convention that is right leaves is the
// least that any can.
bool dominates(const Judged& one, const Judged& other) {
  bool far = false;
  for (size_t i = 0; i < one.levels.size(); ++i) {
    const double a = one.levels[i].error, b = other.levels[i].error;
    if (a > 1.05 * b + 0.01) return false;
    far |= b > 1.3 * a + kFloor;
  }
  return far;
}

// A convention under which the network denoises, and better than as declared; "": none of the
// usual ones.
std::string better_one(const Question& q, const Judged& declared) {
  for (const Candidate& candidate : kCandidates) {
    const auto convention = convention_of(candidate, q.model);
    if (!convention) continue;
    try {
      const Judged judged = judge(q, *convention);
      if (judged.worst() > 1 || !dominates(judged, declared)) continue;
      // A network that is zero so far is a fair denoiser behind c_skip x, but as x0 or eps none.
      const std::string& output = convention->words().output;
      if (judged.learned() || output == "x0" || output == "eps") return candidate.name;
    } catch (const Error&) {  // a level or scale that its own checks refuse
    }
  }
  return "";
}

std::string figures(const AtLevel& at) {
  std::ostringstream text;
  text.precision(3);
  text << "at log-SNR " << at.log_snr << " |eps - eps_hat|^2 is " << at.error
       << " per dimension, where a linear denoiser has " << at.linear;
  return text.str();
}

}  // namespace

int64_t examples_to_judge(c10::IntArrayRef example_shape) {
  const int64_t dims = std::max<int64_t>(1, c10::multiply_integers(example_shape));
  return std::clamp<int64_t>(4096 / dims, 8, 512);
}

ConventionVerdict judge_convention(const ScoreModel& model, const Tensor& x0,
                                   const models::Conditions& given) {
  const torch::NoGradGuard no_grad;
  const Question q = question(model, x0, given);
  const Convention& declared = model.trained().foreign->convention();
  const Judged judged = judge(q, declared);
  const bool fits = judged.worst() <= 1;
  // Where it fits, others are tried only if that takes no time.
  const bool small = models::parameter_count(*model.trained().network) <= kSmall;
  const std::string other = x0.defined() && (!fits || small) ? better_one(q, judged) : "";
  if (fits && other.empty()) return {};
  const bool far = judged.worst() > kWrong || !other.empty();
  // Without data a network that says little passes for one that predicts x0 = 0.
  const bool wrong = far && x0.defined() && (!other.empty() || judged.learned());
  const std::string found = model.trained().foreign->where() + " under its convention (" +
                            declared.describe() + "): " + figures(judged.worst_level());
  if (!wrong) {
    return {ConventionVerdict::Kind::doubtful,
            found + "; its weights are untrained, or the convention is another."};
  }
  return {ConventionVerdict::Kind::wrong,
          found + (other.empty() ? ", and at other levels it denoises well" : "") + ". Set " +
              (other.empty() ? "another model.convention" : other + ", which fits") +
              ", or model.convention_check = warn to go on."};
}

std::string heed_convention(const ScoreModel& model, const Tensor& x0,
                            const models::Conditions& given) {
  if (model.is_analytic() || !model.trained().foreign) return "";
  const std::string& check = model.config.model.convention.check;
  if (check == "off") return "";
  const ConventionVerdict verdict = judge_convention(model, x0, given);
  if (verdict.kind == ConventionVerdict::Kind::wrong && check == "refuse")
    throw ConfigError(verdict.sentence);
  return verdict.sentence;
}

}  // namespace scorenet::score
