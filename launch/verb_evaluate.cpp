// scorenet evaluate: likelihoods of a data set under a snapshot or an analytic model.
//
//   scorenet evaluate --network SNAPSHOT --data fashion_mnist.h5 --metrics elbo --n 1000
//       --json out.json
//   mpirun -n 4 scorenet evaluate ...                     shares the work; the numbers are the same
//   scorenet evaluate --config gaussian.toml --data g.h5 --metrics elbo,elbo-100
//       --exact --per-example out.h5
#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "framework/config/parse.hpp"
#include "framework/data/write_output.hpp"
#include "framework/evaluate/evaluation.hpp"
#include "framework/evaluate/metric_table.hpp"
#include "framework/evaluate/sample_metrics.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/output_guard.hpp"
#include "framework/score/model_input.hpp"
#include "launch/data_arguments.hpp"
#include "launch/device.hpp"
#include "launch/draw_arguments.hpp"
#include "launch/metric_arguments.hpp"
#include "launch/model_arguments.hpp"
#include "launch/numbers.hpp"
#include "launch/output_options.hpp"
#include "launch/seed_list.hpp"
#include "launch/told_arguments.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {
namespace {

struct EvaluateArguments {
  ModelArguments model;
  std::string split = "test", json, per_example;
  std::vector<std::string> data;         // files; none: those of the model's config
  std::vector<std::string> said_of_map;  // --data.KEY=VALUE
  std::vector<std::pair<std::string, std::string>> conditions;  // "NAME.array" and its value
  bool force = false;
  evaluate::EvaluationOptions options;
  DrawArguments draw;
  std::string seeds;
  std::string given;  // the first option given that needs a metric of samples; "": none
};

// Samples or a reference can be had without any model.
bool needs_no_model(const EvaluateArguments& a) {
  const bool no_model = a.model.network.empty() && a.model.config.empty();
  return no_model && (!a.options.samples.given.empty() ||
                      (!a.options.samples.save_reference.empty() && a.options.metrics.empty()));
}

LoadedModel model_of(const EvaluateArguments& a, torch::Device device) {
  if (!needs_no_model(a)) return load_model(a.model, device);
  for (const std::string& metric : a.options.metrics) {
    if (evaluate::is_sample_metric(metric)) continue;
    throw ConfigError("--metrics " + metric +
                      ": is of a model, and none is given. Give --network SNAPSHOT, or ask for "
                      "fd, kid, pr or w2 of --samples alone.");
  }
  LoadedModel none;
  none.model.name = a.options.samples.given;
  none.model.device = device;
  return none;
}

// fid is what fd is called in Inception's features.
void take_aliases(std::vector<std::string>& metrics, bool first_rank) {
  const auto fid = std::find(metrics.begin(), metrics.end(), "fid");
  if (fid == metrics.end()) return;
  if (std::count(metrics.begin(), metrics.end(), "fd") > 0)
    metrics.erase(fid);
  else
    *fid = "fd";
  if (first_rank) {
    std::cerr << "note: fid is fd, the Frechet distance in the features that --features names: "
                 "only in those of Inception with its published weights is it FID."
              << std::endl;
  }
}

// The rank that writes checks, before hours of work.
void check_outputs(const EvaluateArguments& a) {
  auto inputs = inputs_of(a.model);
  data::DataMap given;
  given.path = a.data;
  for (const std::string& file : data::files_of(given)) inputs.push_back({"--data", file});
  if (a.options.samples.features != "pixels")
    inputs.push_back({"--features", a.options.samples.features});
  for (const auto& input : inputs_of(a.draw)) inputs.push_back(input);
  inputs.push_back({"--samples", a.options.samples.given});
  inputs.push_back({"--reference", a.options.samples.reference});
  files::check_outputs(inputs, {{"--json", a.json, a.force},
                                {"--per-example", a.per_example, a.force},
                                {"--save-reference", a.options.samples.save_reference, a.force}});
}

// The map that the model was trained with, with what the command line says otherwise. Other files
// take the place of those that it names, for every split.
data::DataMap map_of(const EvaluateArguments& a, const config::Config& trained) {
  config::Config config = trained;
  config::apply_overrides(config, a.said_of_map);
  data::DataMap& map = config.data.map;
  if (!a.data.empty()) {
    map.path = a.data;
    const auto entry = map.splits.find(a.split);
    if (entry != map.splits.end() && !data::are_ranges(entry->second)) entry->second = a.data;
  }
  if (map.path.empty()) {
    throw ConfigError("evaluate: no data, since the config of " +
                      (a.model.network.empty() ? a.model.config : a.model.network) +
                      " has no data.path. Give --data FILE.h5.");
  }
  std::string text;
  for (const auto& sentence : data::problems(map)) text += (text.empty() ? "" : "\n") + sentence;
  if (!text.empty()) throw ConfigError(text);
  return map;
}

// Options of samples change nothing where no metric draws any.
void check_draw(const EvaluateArguments& a) {
  const auto& metrics = a.options.metrics;
  if (a.given.empty() || std::any_of(metrics.begin(), metrics.end(), evaluate::is_sample_metric))
    return;
  throw ConfigError(a.given +
                    ": only fd, kid, pr and w2 compare samples, and none of them is asked for. "
                    "Add one to --metrics.");
}

void take_draw(EvaluateArguments& a, Guides& guides, torch::Device device) {
  take_guidance(a.draw, guides, a.model.precision, device);
  a.options.samples.sampler = a.draw.sampler;
  a.options.samples.guidance = a.draw.guidance;
  a.options.samples.final = a.draw.final;
  a.options.samples.norms_of_batch = a.draw.corrector_norms == "batch";
  if (!a.seeds.empty()) a.options.samples.seeds = parse_seeds(a.seeds);
}

// A TorchScript file does not say for which shape it was made.
std::vector<int64_t> shape_of_data(const EvaluateArguments& a, const config::Config& config,
                                   comm::Communicator& comm) {
  return data::ImageDataset(map_of(a, config), a.split, score::dataset_options(config, comm))
      .example_shape();
}

ExitCode evaluate(EvaluateArguments arguments, comm::Communicators& comms) {
  comms.host->set_phase(comm::Phase::evaluate);
  take_aliases(arguments.options.metrics, comms.host->rank() == 0);
  check_draw(arguments);
  if (comms.host->rank() == 0) check_outputs(arguments);
  const torch::NoGradGuard no_grad;
  const auto device = device_for_rank(*comms.host);
  if (const auto foreign = foreign_config_of(arguments.model))
    arguments.model.foreign.data_shape = shape_of_data(arguments, *foreign, *comms.host);
  const LoadedModel loaded = model_of(arguments, device);
  check_derivatives(loaded.model, arguments.options.metrics);
  Guides guides;
  take_draw(arguments, guides, device);
  const std::string note = corrector_note(arguments.draw, loaded.example_shape);
  if (comms.host->rank() == 0 && !note.empty()) std::cerr << "note: " << note << std::endl;
  data::DatasetOptions reading = score::dataset_options(loaded.model.config, *comms.host);
  reading.labels = true;
  apply_condition_arrays(reading.conditions, arguments.conditions);
  data::ImageDataset dataset(map_of(arguments, loaded.model.config), arguments.split, reading);
  try_convention(loaded.model, &dataset);
  const auto report = evaluate::evaluate(loaded.model, dataset, arguments.options, *comms.host);
  if (comms.host->rank() != 0) return ExitCode::done;
  if (!arguments.options.metrics.empty()) std::cout << evaluate::summary(report) << std::endl;
  if (!arguments.options.samples.save_reference.empty())
    std::cout << "moments of " << report.n << " examples in "
              << arguments.options.samples.save_reference << std::endl;
  if (!arguments.json.empty())
    files::write_file_atomically(arguments.json, evaluate::to_json(report).dump(2) + "\n");
  if (!arguments.per_example.empty())
    data::write_output([&] { evaluate::write_per_example(arguments.per_example, report); });
  evaluate::require_finite(report);
  return ExitCode::done;
}

// Of metrics that compare samples.
void add_sample_options(CLI::App* verb, EvaluateArguments& a) {
  add_draw_options(verb, a.draw, {"sampler-", "fd, kid, pr, w2: "});
  verb->add_option("--seeds", a.seeds,
                   "fd, kid, pr, w2: seeds of the samples, such as 0-49999 [as many as examples, "
                   "from 1000000 times --seed on]");
  verb->add_option("--samples", a.options.samples.given,
                   "fd, kid, pr, w2: compare these in place of drawing: a folder of pictures, or "
                   "the samples.h5 of sample; needs no --network");
  verb->add_option("--reference", a.options.samples.reference,
                   "fd: compare with the moments in this HDF5 file in place of those of the data");
  add_output_option(verb, "--save-reference", a.options.samples.save_reference,
                    "write the moments of the features of the data to this HDF5 file; without "
                    "--network and --samples nothing else is done");
}

void add_feature_option(CLI::App* verb, std::string& features) {
  verb->add_option("--features", features,
                   "fd, kid, pr: whose features are compared: a classifier's snapshot "
                   "(FILE.safetensors), a TorchScript module (FILE.pt), or pixels");
}

}  // namespace

void add_evaluate_verb(CLI::App& app, Task& task) {
  const auto a = std::make_shared<EvaluateArguments>();
  CLI::App* verb = app.add_subcommand(
      "evaluate", "compute likelihoods of data under a snapshot or an analytic model");
  add_model_options(verb, a->model);
  verb->add_option(
      "--data", a->data,
      "data files, or a pattern, in the layout that the model was trained on [those of "
      "its config]");
  verb->add_option(
          "--split", a->split,
          "train, validation or test; all: every sample, for files without groups of these names")
      ->capture_default_str();
  add_map_options(verb, a->said_of_map);
  verb->add_option("--metrics", a->options.metrics,
                   "what to compute, separated by commas: " + evaluate::metric_names())
      ->delimiter(',')
      ->capture_default_str();
  verb->add_option("--n", a->options.n, "examples, from the start of the split; 0: all")
      ->check(non_negative_number())
      ->capture_default_str();
  verb->add_option("--seed", a->options.seed, "seed of times and noise")->capture_default_str();
  verb->add_option("--batch", a->options.batch, "examples computed at once")
      ->check(positive_number())
      ->capture_default_str();
  add_metric_options(verb, a->options);
  add_sample_options(verb, *a);
  add_feature_option(verb, a->options.samples.features);
  add_output_option(verb, "--json", a->json, "write the report to this file");
  add_output_option(
      verb, "--per-example", a->per_example,
      "write an HDF5 file of float64 arrays in the order of the data: (n) for each metric, also "
      "wkb_nll0, wkb_nll1 and wkb_profile (n, windows) for wkb; (hbars, n) for hbar-*, with the "
      "values of h in hbar-*_hbars; NaN where an example failed");
  add_force_flag(verb, a->force);
  verb->allow_extras();
  verb->footer(
      "--condition.NAME.array ARRAY reads a condition from another data set than the "
      "config names.");
  verb->callback([a, verb, &task] {
    a->conditions = condition_arguments(*verb);
    for (const char* name : {"--class", "--guidance", "--weak-network", "--classifier", "--seeds",
                             "--samples", "--reference"})
      if (a->given.empty() && verb->count(name) > 0) a->given = name;
    const bool alone = a->model.network.empty() && a->model.config.empty() &&
                       a->options.samples.given.empty() &&
                       !a->options.samples.save_reference.empty();
    if (alone) a->options.metrics.clear();
    task.action = [a](comm::Communicators& comms) { return evaluate(*a, comms); };
  });
}

}  // namespace scorenet::launch
