// scorenet sample: one sample a seed, as PNG files, a grid, or numbers.
//
//   scorenet sample --network SNAPSHOT --seeds 0-63 --sampler heun --steps 18 --grid 8x8
//       --outdir out
//   mpirun -n 4 scorenet sample --network SNAPSHOT --seeds 0-9999 --sampler ddim --steps 50
//       --save-h5 --outdir out
//   scorenet sample --network SNAPSHOT --classifier CLASSIFIER --class 3 --guidance 2 --outdir out
//   scorenet sample --config gaussian.toml --seeds 0-999 --sampler euler-maruyama --steps 1000
//       --hbar 0.5 --save-h5 --outdir out
//   mpirun -n 4 scorenet sample --network SNAPSHOT --seeds 0-99999 --like showers.h5
//       --out samples.h5
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/core/pixels.hpp"
#include "framework/data/hdf5.hpp"
#include "framework/data/png.hpp"
#include "framework/data/write_output.hpp"
#include "framework/evaluate/generate.hpp"
#include "framework/evaluate/generate_in_step.hpp"
#include "framework/files/output_guard.hpp"
#include "framework/files/step_name.hpp"
#include "framework/score/model_input.hpp"
#include "launch/device.hpp"
#include "launch/model_arguments.hpp"
#include "launch/run_lock.hpp"
#include "launch/sample_arguments.hpp"
#include "launch/sample_like.hpp"
#include "launch/seed_list.hpp"
#include "launch/told_arguments.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {
namespace {

namespace fs = std::filesystem;

fs::path grid_file(const SampleArguments& a) { return fs::path(a.outdir) / "grid.png"; }
fs::path h5_file(const SampleArguments& a) { return fs::path(a.outdir) / "samples.h5"; }
fs::path seed_file(const SampleArguments& a, int64_t seed) {
  return fs::path(a.outdir) / ("seed-" + files::step_name(seed) + ".png");
}

// Older samples give way; nothing that is read does.
void check_outputs(const SampleArguments& a, const std::vector<int64_t>& seeds) {
  auto inputs = inputs_of(a.model);
  for (const auto& input : inputs_of(static_cast<const DrawArguments&>(a))) inputs.push_back(input);
  inputs.push_back({"--condition", a.told.file});
  if (!a.like.empty()) {
    inputs.push_back({"--like", a.like});
    return files::check_outputs(inputs, {{"--out", a.out, a.force}});
  }
  std::set<fs::path> names{h5_file(a)};
  if (!a.grid.empty()) names.insert(grid_file(a));
  // Of millions of pictures the first stand for all: no network has such a name.
  const size_t pictures = a.grid.empty() ? std::min<size_t>(seeds.size(), 1000) : 0;
  for (size_t i = 0; i < pictures; ++i) names.insert(seed_file(a, seeds[i]));
  std::vector<files::Output> outputs;
  for (const fs::path& name : names)
    outputs.push_back({"--outdir", name, /*may_replace=*/true, /*may_make_folder=*/true});
  files::check_outputs(inputs, outputs);
}

// Samples that nobody will see are not drawn, unless others depend on them.
std::vector<int64_t> seeds_to_draw(const SampleArguments& a, comm::Communicator& comm) {
  auto seeds = parse_seeds(a.seeds);
  if (a.grid.empty()) return seeds;
  const Grid grid = parse_grid(a.grid);
  const auto shown = static_cast<size_t>(grid.columns * grid.rows);
  if (shown >= seeds.size()) return seeds;
  const bool all = a.save_h5 || a.sampler.keep_path || a.corrector_norms == "batch";
  if (comm.rank() == 0) {
    std::cerr << "note: --grid " << a.grid << " shows the first " << shown << " of " << seeds.size()
              << " seeds" << (all ? "." : "; only those are drawn.") << std::endl;
  }
  if (!all) seeds.resize(shown);
  return seeds;
}

// All that the samples depend on besides weights and seeds.
std::string settings_of(const SampleArguments& a) {
  const diffusion::SamplerOptions& s = a.sampler;
  const diffusion::OdeOptions solver = diffusion::with_tolerances(s.rtol, s.atol);
  std::ostringstream text;
  text.precision(17);
  text << s.name << ' ' << s.steps << ' ' << s.spacing << ' ' << s.rho << ' ' << s.final << ' '
       << s.eta << ' ' << s.hbar << " h(t) " << a.hbar_schedule << ' ' << s.churn << ' '
       << s.churn_min << ' ' << s.churn_max << ' ' << s.churn_noise << ' ' << s.corrector_steps
       << ' ' << s.corrector_snr << ' ' << solver.rtol << ' ' << solver.atol << " class "
       << a.classes << ' ' << a.guidance.weight << ' ' << a.guidance.log_snr_min << ' '
       << a.guidance.log_snr_max << " precision " << a.model.precision << " batch " << a.batch;
  return text.str();
}

// What made the picture, stored in the PNG itself.
std::map<std::string, std::string> settings(const SampleArguments& a, double nfe) {
  return {{"Software", "scorenet " SCORENET_VERSION},
          {"Network", a.model.network.empty() ? a.model.config : a.model.network},
          {"Sampler", a.sampler.name + ", " + std::to_string(a.sampler.steps) + " steps"},
          {"Seeds", a.seeds},
          {"NFE", std::to_string(nfe)}};
}

void write_pictures(const SampleArguments& a, const std::vector<int64_t>& seeds,
                    const evaluate::Generated& generated, const score::ScoreModel& model) {
  const auto divisors = evaluate::divided_by(model, a.guidance.told, 0, generated.x.size(0));
  const auto pixels = pixels_from_data(score::picture_values(model, generated.x, divisors));
  const auto meta = settings(a, generated.nfe);
  if (!a.grid.empty()) {
    const Grid grid = parse_grid(a.grid);
    const int64_t shown = std::min(grid.columns * grid.rows, pixels.size(0));
    data::write_png_grid(grid_file(a), pixels.narrow(0, 0, shown), grid.columns, 2, meta,
                         a.grid_channels);
    return;
  }
  for (size_t i = 0; i < seeds.size(); ++i) {
    data::write_png_grid(seed_file(a, seeds[i]), pixels.narrow(0, static_cast<int64_t>(i), 1), 1, 2,
                         meta, a.grid_channels);
  }
}

void write_h5(const SampleArguments& a, const evaluate::Generated& generated,
              const score::ScoreModel& model) {
  files::ReplacingFile whole(h5_file(a));
  data::Hdf5File file = data::Hdf5File::create(whole.path().string());
  const auto divisors = evaluate::divided_by(model, a.guidance.told, 0, generated.x.size(0));
  file.write_array("/samples", score::file_values(model, generated.x, divisors));
  if (generated.path.defined()) {
    file.write_array("/path", generated.path);
    file.write_array("/path_t", generated.path_t);
  }
  file.close();
  whole.commit();
}

// Of this machine, or what its container is lent of it (cgroup v2).
double memory_bytes() {
  const double machine =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  double lent = 0;
  std::ifstream("/sys/fs/cgroup/memory.max") >> lent;  // "max" is no number
  return lent > 0 ? std::min(machine, lent) : machine;
}

void check_memory(const SampleArguments& a, size_t seeds, const LoadedModel& loaded) {
  const auto dims = static_cast<double>(c10::multiply_integers(loaded.example_shape));
  const double points = a.sampler.keep_path ? static_cast<double>(a.sampler.steps) + 2 : 1;
  const double needed = static_cast<double>(seeds) * points * dims * sizeof(double);
  const double memory = memory_bytes();
  if (needed < memory) return;
  throw ConfigError(
      "--seeds " + a.seeds + ": " + std::to_string(seeds) + " samples take " +
      std::to_string(static_cast<int64_t>(needed * 1e-9)) + " GB, and this machine has " +
      std::to_string(static_cast<int64_t>(memory * 1e-9)) + ". Draw them in several parts" +
      (a.sampler.keep_path ? ", or leave --trajectory out." : "."));
}

// A picture of other channels says how they are shown.
void tell_channels(const SampleArguments& a, const LoadedModel& loaded) {
  const int64_t channels = loaded.example_shape[0];
  if (!a.grid_channels.empty() || channels == 1 || channels == 3) return;
  std::cout << channels << " channels: a tile for each, side by side; --grid-channels a,b,c shows "
            << "three as colours" << std::endl;
}

// Options of pictures, where samples are none.
void check_pictures(const SampleArguments& a, const LoadedModel& loaded) {
  if (loaded.example_shape.size() == 3) {
    data::check_channels(a.grid_channels, loaded.example_shape[0], "--grid-channels");
  } else if (!a.grid_channels.empty() || !a.grid.empty()) {
    throw ConfigError(std::string(a.grid.empty() ? "--grid-channels" : "--grid") +
                      ": samples of shape " + shape_string(loaded.example_shape) +
                      " are not pictures. Leave it out; samples.h5 holds the samples.");
  }
}

void write_samples(const SampleArguments& a, const std::vector<int64_t>& seeds,
                   const LoadedModel& loaded, const evaluate::Generated& generated) {
  const bool image = loaded.example_shape.size() == 3;
  files::make_output_folder({"--outdir", a.outdir});
  if (image) write_pictures(a, seeds, generated, loaded.model);
  if (image) tell_channels(a, loaded);
  if (a.save_h5 || a.sampler.keep_path || !image)
    data::write_output([&] { write_h5(a, generated, loaded.model); });
  std::cout << seeds.size() << " samples, " << a.sampler.name << ", nfe " << generated.nfe
            << ", in " << a.outdir << std::endl;
}

// A row a sample: --seeds left out draws them all.
void take_rows(SampleArguments& a, const Told& told) {
  if (told.rows < 0) return;
  if (!a.seeds_given) a.seeds = "0-" + std::to_string(told.rows - 1);
  const auto seeds = static_cast<int64_t>(parse_seeds(a.seeds).size());
  if (seeds <= told.rows) return;
  throw ConfigError("--condition " + a.told.file + ": " + std::to_string(told.rows) +
                    " rows, but --seeds " + a.seeds + " asks for " + std::to_string(seeds) +
                    " samples. Give one row per sample.");
}

ExitCode sample(SampleArguments a, comm::Communicators& comms) {
  comm::Communicator& comm = *comms.host;
  comm.set_phase(comm::Phase::evaluate);
  check_form(a);
  if (comm.rank() == 0) check_outputs(a, parse_seeds(a.seeds));
  const auto device = device_for_rank(comm);
  const LoadedModel loaded = load_model(a.model, device);
  try_convention(loaded.model, nullptr);
  Told told = told_samples(a.told, loaded.model);
  take_rows(a, told);
  const auto seeds = seeds_to_draw(a, comm);
  if (comm.rank() == 0 && told.rows >= 0) check_outputs(a, seeds);  // of seeds known only now
  a.guidance.told = told.samples;
  Guides guides;
  take_guidance(a, guides, a.model.precision, device);
  const std::string note = corrector_note(a, loaded.example_shape);
  if (comm.rank() == 0 && !note.empty()) std::cerr << "note: " << note << std::endl;
  if (a.like.empty()) check_memory(a, seeds.size(), loaded);
  check_pictures(a, loaded);
  a.sampler.final =
      a.final.empty() ? evaluate::usual_final(a.sampler, loaded.example_shape) : a.final;
  if (!a.hbar_schedule.empty()) a.sampler.hbar_shape = diffusion::parse_hbar_shape(a.hbar_schedule);
  if (!a.like.empty()) {
    return sample_like(
        {a.like, a.out, seeds, a.sampler, a.guidance, a.batch, settings_of(a) + told.settings},
        loaded, comm);
  }
  // Two jobs would leave pictures of both under one name.
  const auto lock = lock_run_folder(a.outdir, comm);
  const auto generated = a.corrector_norms == "batch"
                             ? evaluate::generate_in_step(loaded.model, loaded.example_shape, seeds,
                                                          a.sampler, a.guidance, comm)
                             : evaluate::generate(loaded.model, loaded.example_shape, seeds,
                                                  a.sampler, a.guidance, a.batch, comm);
  if (comm.rank() != 0) return ExitCode::done;
  const auto bad = evaluate::samples_not_finite(generated.x, seeds);
  if (bad.of_all) throw NotFiniteError(bad.sentence);
  write_samples(a, seeds, loaded, generated);
  if (!bad.sentence.empty()) throw NotFiniteError(bad.sentence);
  return ExitCode::done;
}

}  // namespace

void add_sample_verb(CLI::App& app, Task& task) {
  const auto a = std::make_shared<SampleArguments>();
  CLI::App* verb = app.add_subcommand("sample", "draw samples, one per seed");
  add_sample_options(verb, *a);
  verb->allow_extras();
  verb->callback([a, verb, &task] {
    a->told.values = condition_arguments(*verb);
    a->seeds_given = verb->count("--seeds") > 0;
    task.action = [a](comm::Communicators& comms) { return sample(*a, comms); };
  });
}

}  // namespace scorenet::launch
