// scorenet sample: one sample a seed, as PNG files, a grid, or numbers.
//
//   scorenet sample --network SNAPSHOT --seeds 0-63 --sampler heun --steps 18 --grid 8x8 --outdir out
//   mpirun -n 4 scorenet sample --network SNAPSHOT --seeds 0-9999 --sampler ddim --steps 50 --save-h5 --outdir out
//   scorenet sample --network SNAPSHOT --classifier CLASSIFIER --class 3 --guidance 2 --outdir out
//   scorenet sample --config gaussian.toml --seeds 0-999 --sampler euler-maruyama --steps 1000 --hbar 0.5 --save-h5 --outdir out
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>

#include "framework/data/hdf5.hpp"
#include "framework/data/png.hpp"
#include "framework/files/step_name.hpp"
#include "framework/train/generate.hpp"
#include "framework/train/generate_in_step.hpp"
#include "launch/device.hpp"
#include "launch/hbar_schedule.hpp"
#include "launch/model_arguments.hpp"
#include "launch/seed_list.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {
namespace {

namespace fs = std::filesystem;

struct SampleArguments {
  ModelArguments model;
  std::string weak_network, classifier, seeds = "0-63", grid, outdir, final, hbar_schedule,
                                        corrector_norms = "example";
  diffusion::SamplerOptions sampler;
  train::GuidanceOptions guidance;
  std::vector<double> guidance_interval;
  int64_t batch = 64;
  bool save_h5 = false;
};

// What made the picture, stored in the PNG itself.
std::map<std::string, std::string> settings(const SampleArguments& a, double nfe) {
  return {{"Software", "scorenet " SCORENET_VERSION},
          {"Network", a.model.network.empty() ? a.model.config : a.model.network},
          {"Sampler", a.sampler.name + ", " + std::to_string(a.sampler.steps) + " steps"},
          {"Seeds", a.seeds},
          {"NFE", std::to_string(nfe)}};
}

void write_pictures(const SampleArguments& a, const std::vector<int64_t>& seeds,
                    const train::Generated& generated) {
  const auto pixels = train::to_pixels(generated.x);
  const auto meta = settings(a, generated.nfe);
  if (!a.grid.empty()) {
    const Grid grid = parse_grid(a.grid);
    const int64_t shown = std::min(grid.columns * grid.rows, pixels.size(0));
    data::write_png_grid(fs::path(a.outdir) / "grid.png", pixels.narrow(0, 0, shown), grid.columns,
                         2, meta);
    return;
  }
  for (size_t i = 0; i < seeds.size(); ++i) {
    data::write_png_grid(fs::path(a.outdir) / ("seed-" + files::step_name(seeds[i]) + ".png"),
                         pixels.narrow(0, static_cast<int64_t>(i), 1), 1, 0, meta);
  }
}

void write_h5(const SampleArguments& a, const train::Generated& generated) {
  data::Hdf5File file = data::Hdf5File::create((fs::path(a.outdir) / "samples.h5").string());
  file.write_array("/samples", generated.x);
  if (generated.path.defined()) {
    file.write_array("/path", generated.path);
    file.write_array("/path_t", generated.path_t);
  }
  file.close();
}

void make_outdir(const std::string& outdir) {
  std::error_code error;
  fs::create_directories(outdir, error);
  if (error)
    throw DataError("--outdir " + outdir + ": cannot be made (" + error.message() +
                    "). Choose a folder you may write to.");
}

ExitCode sample(SampleArguments a, comm::Communicators& comms) {
  comm::Communicator& comm = *comms.host;
  use_threads(0, comm);
  comm.set_phase(comm::Phase::evaluate);
  const auto seeds = parse_seeds(a.seeds);
  if (!a.grid.empty()) parse_grid(a.grid);
  const auto device = device_for_rank(comm);
  const LoadedModel loaded = load_model(a.model, device);
  std::optional<LoadedModel> weak;
  if (!a.weak_network.empty()) {
    weak = load_model({a.weak_network, ""}, device);
    a.guidance.weak = &weak->model;
  }
  std::optional<LoadedModel> classifier;
  if (!a.classifier.empty()) {
    classifier = load_classifier(a.classifier, device);
    a.guidance.classifier = &classifier->model;
  }
  if (a.guidance_interval.size() == 2) {
    a.guidance.log_snr_min = a.guidance_interval[0];
    a.guidance.log_snr_max = a.guidance_interval[1];
  }
  const bool image = loaded.example_shape.size() == 3;
  a.sampler.final = !a.final.empty() ? a.final : image ? "denoised" : "state";
  if (!a.hbar_schedule.empty()) a.sampler.hbar_shape = diffusion::parse_hbar_shape(a.hbar_schedule);
  const auto generated = a.corrector_norms == "batch"
                             ? train::generate_in_step(loaded.model, loaded.example_shape, seeds,
                                                       a.sampler, a.guidance, comm)
                             : train::generate(loaded.model, loaded.example_shape, seeds, a.sampler,
                                               a.guidance, a.batch, comm);
  if (comm.rank() != 0) return ExitCode::done;
  make_outdir(a.outdir);
  if (image) write_pictures(a, seeds, generated);
  if (a.save_h5 || a.sampler.keep_path || !image) write_h5(a, generated);
  std::cout << seeds.size() << " samples, " << a.sampler.name << ", nfe " << generated.nfe
            << ", in " << a.outdir << std::endl;
  return ExitCode::done;
}

void add_sampler_options(CLI::App* verb, SampleArguments& a) {
  auto& s = a.sampler;
  s.name = "heun";
  verb->add_option("--sampler", s.name, "method")
      ->check(CLI::IsMember(diffusion::sampler_names()))
      ->capture_default_str();
  verb->add_option("--steps", s.steps, "steps from t_max to t_min")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--spacing", s.spacing, "uniform (in t), log-snr or edm")->capture_default_str();
  verb->add_option(
      "--final", a.final,
      "state: x at t_min; denoised: the network's x0 there [images: denoised, else state]");
  verb->add_option("--eta", s.eta, "ddim: 0 deterministic to 1 ancestral")->capture_default_str();
  verb->add_option("--hbar", s.hbar,
                   "euler-maruyama, dpmpp-2m-sde: noise knob h, 0 the ODE, 1 the reverse SDE")
      ->capture_default_str();
  add_hbar_schedule_option(verb, a.hbar_schedule);
  verb->add_option("--churn", s.churn, "heun: S_churn")->capture_default_str();
  verb->add_option("--churn-min", s.churn_min, "heun: S_min")->capture_default_str();
  verb->add_option("--churn-max", s.churn_max, "heun: S_max")->capture_default_str();
  verb->add_option("--churn-noise", s.churn_noise, "heun: S_noise")->capture_default_str();
  verb->add_option("--corrector-steps", s.corrector_steps,
                   "pc: Langevin steps after each predictor")
      ->capture_default_str();
  verb->add_option("--corrector-snr", s.corrector_snr, "pc: step size r")->capture_default_str();
  verb->add_option("--corrector-norms", a.corrector_norms,
                   "pc: norms of each example, or their mean over the batch of all seeds on all "
                   "ranks, as score_sde; a sample then depends on the other seeds too")
      ->check(CLI::IsMember({"example", "batch"}))
      ->capture_default_str();
  verb->add_option("--rtol", s.rtol, "ode: relative tolerance")->capture_default_str();
  verb->add_option("--atol", s.atol, "ode: absolute tolerance")->capture_default_str();
}

}  // namespace

void add_sample_verb(CLI::App& app, Task& task) {
  const auto a = std::make_shared<SampleArguments>();
  CLI::App* verb = app.add_subcommand("sample", "draw samples, one a seed");
  add_model_options(verb, a->model);
  verb->add_option("--seeds", a->seeds, "such as 0-63,100; a sample depends on its seed alone")
      ->capture_default_str();
  add_sampler_options(verb, *a);
  verb->add_option("--class", a->guidance.label, "label to sample");
  verb->add_option("--guidance", a->guidance.weight,
                   "weight: 0 unconditional, 1 conditional, above 1 guided")
      ->capture_default_str();
  verb->add_option("--weak-network", a->weak_network,
                   "autoguidance: a worse snapshot to move away from");
  verb->add_option("--classifier", a->classifier,
                   "classifier guidance towards --class: snapshot of a model.type = classifier, "
                   "instead of classifier-free");
  verb->add_option("--guidance-interval", a->guidance_interval,
                   "log-SNR range that is guided: LOW HIGH")
      ->expected(2);
  verb->add_option("--batch", a->batch, "samples computed at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--grid", a->grid, "one picture COLUMNSxROWS instead of one a seed");
  verb->add_option("--outdir", a->outdir, "folder for what is made")->required();
  verb->add_flag("--save-h5", a->save_h5,
                 "write samples.h5: samples (N, ...) float64 in seed order");
  verb->add_flag("--trajectory", a->sampler.keep_path,
                 "methods of one evaluation a step: also the states, path (N, steps + 1, ...), and "
                 "their times, path_t, from t_max, in samples.h5");
  verb->callback(
      [a, &task] { task.action = [a](comm::Communicators& comms) { return sample(*a, comms); }; });
}

}  // namespace scorenet::launch
