#include "launch/draw_arguments.hpp"

#include <utility>

#include "framework/core/error.hpp"
#include "framework/diffusion/names.hpp"
#include "launch/known_name.hpp"
#include "launch/number_list.hpp"
#include "launch/numbers.hpp"

namespace scorenet::launch {
namespace {

// Adds options whose help begins alike.
class Adder {
 public:
  Adder(CLI::App* verb, const DrawNames& names) : verb_(verb), names_(names) {}

  template <typename T>
  CLI::Option* add(const std::string& name, T& value, const std::string& help) const {
    return verb_->add_option(name, value, names_.metrics + help);
  }
  // Of a name that the verb may use for something else.
  template <typename T>
  CLI::Option* add_apart(const std::string& name, T& value, const std::string& help) const {
    return add("--" + names_.before + name, value, help);
  }

 private:
  CLI::App* verb_;
  const DrawNames& names_;
};

void add_steps(const Adder& verb, DrawArguments& a) {
  auto& s = a.sampler;
  verb.add("--sampler", s.name, "sampling method")
      ->check(known_name(diffusion::sampler_names()))
      ->capture_default_str();
  verb.add_apart("steps", s.steps, "steps from t_max to t_min")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))
      ->capture_default_str();
  verb.add("--spacing", s.spacing,
           "where the steps lie: uniform (in t), log-snr or edm; trained-steps: with ddim, the "
           "network's numbered steps, as diffusers' DDIMScheduler takes them")
      ->capture_default_str();
  verb.add("--rho", s.rho, "spacing edm: EDM's rho")
      ->check(CLI::Range(1e-3, 1e3))
      ->capture_default_str();
  verb.add("--final", a.final,
           "result: state: x at t_min; denoised: the network's x0 there [denoised for grids; state "
           "for points and with trained-steps]")
      ->check(CLI::IsMember(diffusion::final_names()));
}

void add_methods(const Adder& verb, DrawArguments& a) {
  auto& s = a.sampler;
  verb.add("--eta", s.eta, "ddim: 0 deterministic to 1 ancestral")->capture_default_str();
  verb.add_apart("hbar", s.hbar,
                 "euler-maruyama, dpmpp-2m-sde: noise knob h, 0 the ODE, 1 the reverse SDE")
      ->check(non_negative_number())
      ->capture_default_str();
  verb.add("--churn,--S_churn", s.churn, "heun: EDM's S_churn")->capture_default_str();
  verb.add("--churn-min,--S_min", s.churn_min, "heun: EDM's S_min")->capture_default_str();
  verb.add("--churn-max,--S_max", s.churn_max, "heun: EDM's S_max")->capture_default_str();
  verb.add("--churn-noise,--S_noise", s.churn_noise, "heun: EDM's S_noise")->capture_default_str();
  verb.add("--corrector-steps", s.corrector_steps, "pc: Langevin steps after each predictor")
      ->capture_default_str();
  verb.add("--corrector-snr", s.corrector_snr, "pc: step size r")->capture_default_str();
  verb.add("--corrector-norms", a.corrector_norms,
           "pc: example: norms of each example; batch: their mean over all seeds and ranks, as "
           "score_sde; a sample then depends on the other seeds too")
      ->check(CLI::IsMember({"example", "batch"}))
      ->capture_default_str();
  verb.add_apart("rtol", s.rtol, "ode: relative tolerance [as the absolute one, else 1e-5]")
      ->check(positive_number());
  verb.add_apart("atol", s.atol, "ode: absolute tolerance [as the relative one, else 1e-5]")
      ->check(positive_number());
}

void add_guidance(const Adder& verb, DrawArguments& a) {
  verb.add("--class", a.classes,
           "label to sample; or a list, such as 0,3,5 or 0-9, dealt to the seeds in turn; or "
           "random: by each sample's seed");
  verb.add("--guidance", a.guidance.weight,
           "weight: 0 unconditional, 1 conditional, above 1 guided")
      ->capture_default_str();
  verb.add("--weak-network", a.weak_network, "autoguidance: a worse snapshot, to guide away from");
  verb.add("--classifier", a.classifier,
           "classifier guidance towards --class, instead of classifier-free: snapshot of a "
           "model.type = classifier");
  verb.add("--guidance-interval", a.guidance_interval,
           "guide only within this log-SNR range: LOW HIGH")
      ->expected(2);
}

}  // namespace

void add_draw_options(CLI::App* verb, DrawArguments& a, const DrawNames& names) {
  a.sampler.name = "heun";
  const Adder adder(verb, names);
  add_steps(adder, a);
  add_methods(adder, a);
  add_guidance(adder, a);
}

std::vector<int64_t> parse_classes(const std::string& text) {
  NumberList list = read_number_list(text, 9, /*negative=*/true, 1'000'000);
  if (list.is_wrong) {
    throw ConfigError("--class " + text + ": '" + list.wrong_part +
                      "' is no class or range of classes. Write for example 3, 0,3,5, 0-9 or "
                      "random.");
  }
  return std::move(list.numbers);
}

void take_guidance(DrawArguments& a, Guides& guides, const std::string& precision,
                   torch::Device device) {
  if (!a.weak_network.empty()) {
    guides.weak = load_model({a.weak_network, "", precision}, device);
    a.guidance.weak = &guides.weak->model;
  }
  if (!a.classifier.empty()) {
    guides.classifier = load_classifier(a.classifier, device);
    a.guidance.classifier = &guides.classifier->model;
  }
  if (a.guidance_interval.size() == 2) {
    a.guidance.log_snr_min = a.guidance_interval[0];
    a.guidance.log_snr_max = a.guidance_interval[1];
    if (!a.guidance.classifier && a.guidance.weight == 1.0) {
      throw ConfigError(
          "--guidance-interval: there is no guidance. Give --guidance W other than 1, or "
          "--classifier.");
    }
  }
  a.guidance.random_labels = a.classes == "random";
  if (!a.classes.empty() && !a.guidance.random_labels) a.guidance.labels = parse_classes(a.classes);
}

// The step is proportional to 1 / |g|^2 of the score g. For a Gaussian in D dimensions its mean is
// D / (D - 2) times 1 / E|g|^2. Measured: samples of N(0, 0.25) after 200 steps, seeds 0-1999, have
// 17.1, 2.11, 1.48, 1.24, 1.13 and 1.07 times the variance for D = 2, 4, 8, 16, 32 and 64, and
// 1.01 to 1.02 times with the batch's norms.
std::string corrector_note(const DrawArguments& a, const std::vector<int64_t>& example_shape) {
  constexpr int64_t kFewest = 64;
  int64_t dims = 1;
  for (const int64_t size : example_shape) dims *= size;
  if (a.sampler.name != "pc" || a.sampler.corrector_steps == 0 || a.corrector_norms == "batch" ||
      dims >= kFewest)
    return "";
  return "--sampler pc in " + std::to_string(dims) +
         " dimensions: the norms of one example scatter, so that the corrector's steps are too "
         "large and the samples too wide; give --corrector-norms batch.";
}

std::vector<files::NamedPath> inputs_of(const DrawArguments& a) {
  return {{"--weak-network", a.weak_network}, {"--classifier", a.classifier}};
}

}  // namespace scorenet::launch
