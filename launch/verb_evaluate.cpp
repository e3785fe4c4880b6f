// scorenet evaluate: likelihoods of a data set under a snapshot or an analytic model.
//
//   scorenet evaluate --network SNAPSHOT --data fashion_mnist.h5 --metrics elbo --n 1000 --json out.json
//   mpirun -n 4 scorenet evaluate ...                     shares the work; the numbers are the same
//   scorenet evaluate --config gaussian.toml --data g.h5 --metrics elbo,elbo-100 --exact --per-example out.h5
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "framework/data/hdf5.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/train/evaluation.hpp"
#include "launch/device.hpp"
#include "launch/model_arguments.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {
namespace {

struct EvaluateArguments {
  ModelArguments model;
  std::string data, split = "test", json, per_example;
  train::EvaluationOptions options;
};

// One array a metric, in the order of the data set.
void write_per_example(const std::string& path, const train::EvaluationReport& report) {
  data::Hdf5File file = data::Hdf5File::create(path);
  for (const auto& metric : report.metrics) file.write_array("/" + metric.name, metric.nats);
  file.close();
}

ExitCode evaluate(const EvaluateArguments& arguments, comm::Communicators& comms) {
  use_threads(0, *comms.host);
  comms.host->set_phase(comm::Phase::evaluate);
  const torch::NoGradGuard no_grad;
  const LoadedModel loaded = load_model(arguments.model, device_for_rank(*comms.host));
  data::ImageDataset dataset(arguments.data, arguments.split);
  const auto report = train::evaluate(loaded.model, dataset, arguments.options, *comms.host);
  if (comms.host->rank() != 0) return ExitCode::done;
  std::cout << train::summary(report) << std::endl;
  if (!arguments.json.empty())
    files::write_file_atomically(arguments.json, train::to_json(report).dump(2) + "\n");
  if (!arguments.per_example.empty()) write_per_example(arguments.per_example, report);
  return ExitCode::done;
}

}  // namespace

void add_evaluate_verb(CLI::App& app, Task& task) {
  const auto a = std::make_shared<EvaluateArguments>();
  CLI::App* verb =
      app.add_subcommand("evaluate", "likelihoods of data under a snapshot or an analytic model");
  add_model_options(verb, a->model);
  verb->add_option("--data", a->data, "HDF5 file")->required();
  verb->add_option("--split", a->split, "train, validation or test")->capture_default_str();
  verb->add_option("--metrics", a->options.metrics,
                   "names, separated by commas: elbo, elbo-T (a number of steps)")
      ->delimiter(',')
      ->capture_default_str();
  verb->add_option("--n", a->options.n, "examples, from the start of the split; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--seed", a->options.seed, "of times and noise")->capture_default_str();
  verb->add_option("--batch", a->options.batch, "examples computed at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--time-samples", a->options.time_samples, "times drawn for each example")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--decoder", a->options.decoder, "reconstruction term: auto, flat, tweedie")
      ->capture_default_str();
  verb->add_flag("--exact", a->options.exact,
                 "quadrature instead of draws (low-dimensional models)");
  verb->add_option("--json", a->json, "write the report there");
  verb->add_option("--per-example", a->per_example,
                   "write one float64 array a metric there (HDF5)");
  verb->callback([a, &task] {
    task.action = [a](comm::Communicators& comms) { return evaluate(*a, comms); };
  });
}

}  // namespace scorenet::launch
