#include "framework/evaluate/sample_metrics.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include "framework/comm/deadline.hpp"
#include "framework/core/error.hpp"
#include "framework/core/pixels.hpp"
#include "framework/evaluate/feature_extractor.hpp"
#include "framework/evaluate/generate.hpp"
#include "framework/evaluate/generate_in_step.hpp"
#include "framework/evaluate/given_samples.hpp"
#include "framework/evaluate/reference_file.hpp"
#include "framework/metrics/frechet.hpp"
#include "framework/metrics/kernel_distance.hpp"
#include "framework/metrics/precision_recall.hpp"
#include "framework/metrics/wasserstein.hpp"
#include "framework/score/model_input.hpp"

namespace scorenet::evaluate {
namespace {

using Values = std::vector<std::pair<std::string, double>>;

Values w2(const torch::Tensor& data, const torch::Tensor& samples) {
  const auto distance = metrics::wasserstein2(data, samples);
  return {{"w2", distance.root}, {"w2_squared", distance.squared}};
}

Values fd(const torch::Tensor& data, const torch::Tensor& samples) {
  return {{"fd", metrics::frechet_distance(data, samples)}};
}

Values fd_of_moments(const metrics::Moments& data, const torch::Tensor& samples) {
  return {{"fd", metrics::frechet_distance(data, metrics::moments_of(samples, "samples"))}};
}

Values kid(const torch::Tensor& data, const torch::Tensor& samples) {
  const auto distance = metrics::kernel_distance(data, samples);
  return {{"kid", distance.value}, {"kid_stderr", distance.standard_error}};
}

Values pr(const torch::Tensor& data, const torch::Tensor& samples) {
  const auto shares = metrics::precision_recall(data, samples);
  return {{"precision", shares.precision}, {"recall", shares.recall}};
}

struct Entry {
  const char* name;
  Values (*compare)(const torch::Tensor& data, const torch::Tensor& samples);
  bool of_features;  // or of the points themselves
  int64_t most;      // points whose n^2 distances, several times, fit into memory
};
constexpr Entry kEntries[] = {{"w2", w2, false, 10'000},
                              {"fd", fd, true, 1'000'000},
                              {"kid", kid, true, 20'000},
                              {"pr", pr, true, 20'000}};

const Entry* find(const std::string& name) {
  for (const Entry& entry : kEntries)
    if (name == entry.name) return &entry;
  return nullptr;
}

void check(const Entry& entry, int64_t n, const EvaluationOptions& options) {
  if (n > entry.most) {
    throw ConfigError(std::string("--metrics ") + entry.name + ": " + std::to_string(n) +
                      " examples against as many samples; at most " + std::to_string(entry.most) +
                      " fit into memory. Give --n.");
  }
  if (entry.of_features && options.samples.features.empty()) {
    throw ConfigError(std::string("--metrics ") + entry.name +
                      ": compares features, and none are given. Give --features: a classifier's "
                      "snapshot (FILE.safetensors), a TorchScript module (FILE.pt), or pixels.");
  }
  if (!options.samples.reference.empty() && entry.compare != fd) {
    throw ConfigError(std::string("--reference with --metrics ") + entry.name +
                      ": moments stand for the data in fd alone. Leave one of them out.");
  }
}

// Other seeds of the evaluation draw other samples.
std::vector<int64_t> sample_seeds(uint64_t seed, int64_t n) {
  constexpr int64_t kSeedsApart = 1'000'000;
  return slot_range(static_cast<int64_t>(seed) * kSeedsApart, n);
}

torch::Tensor features_of(const FeatureExtractor& extractor, const torch::Tensor& x,
                          int64_t batch) {
  std::vector<torch::Tensor> rows;
  for (const auto& part : x.split(batch)) rows.push_back(extractor.features(part));
  return torch::cat(rows);
}

struct Clouds {
  torch::Tensor data, samples;
};

// The samples that are compared, and how they came about.
struct Samples {
  torch::Tensor x;  // (m, ...) float64 as files hold them; of rank zero
  int64_t count = 0;
  double nfe = 0;
};

Samples given(const EvaluationOptions& options, const data::ImageDataset& dataset) {
  Samples samples;
  samples.x =
      read_samples(options.samples.given, dataset.example_shape(), dataset.levels(), options.n);
  samples.count = samples.x.size(0);
  const NotFinite bad = samples_not_finite(samples.x, slot_range(0, samples.count));
  if (!bad.sentence.empty()) {
    throw NotFiniteError("--samples " + options.samples.given +
                         ": a sample is not finite. Draw them again, or leave it out.");
  }
  samples.x = as_stored(samples.x, dataset.levels());
  return samples;
}

Samples draw(const score::ScoreModel& model, data::ImageDataset& dataset, int64_t n,
             const EvaluationOptions& options, const diffusion::SamplerOptions& sampler,
             comm::Communicator& comm) {
  const auto seeds =
      options.samples.seeds.empty() ? sample_seeds(options.seed, n) : options.samples.seeds;
  // Each is told what the sample that it is compared with is told.
  GuidanceOptions guidance = options.samples.guidance;
  if (!model.config.conditions.empty()) guidance.told = told_as(dataset);
  const Generated drawn =
      options.samples.norms_of_batch
          ? generate_in_step(model, dataset.example_shape(), seeds, sampler, guidance, comm)
          : generate(model, dataset.example_shape(), seeds, sampler, guidance, options.batch, comm);
  const NotFinite bad = samples_not_finite(drawn.x, seeds);
  if (!bad.sentence.empty()) throw NotFiniteError(bad.sentence);
  const auto count = static_cast<int64_t>(seeds.size());
  Samples samples{{}, count, drawn.nfe};
  if (comm.rank() != 0) return samples;
  const auto divisors = divided_by(model, guidance.told, 0, count);
  samples.x = as_stored(score::file_values(model, drawn.x, divisors), dataset.levels());
  return samples;
}

// The sampler, as `sample` would use it.
diffusion::SamplerOptions sampler_of(const EvaluationOptions& options,
                                     c10::IntArrayRef example_shape) {
  diffusion::SamplerOptions sampler = options.samples.sampler;
  sampler.hbar_shape = hbar_shape(options);
  sampler.final =
      options.samples.final.empty() ? usual_final(sampler, example_shape) : options.samples.final;
  return sampler;
}

torch::Tensor data_points(data::ImageDataset& dataset, int64_t n) {
  return in_model_range(dataset.read(slot_range(0, n)).examples, dataset.levels())
      .to(torch::kFloat64);
}

// What the samples are compared with, and in which features; all that can be refused is refused
// here, before the first sample is drawn.
struct Comparison {
  std::vector<const Entry*> entries;
  std::optional<FeatureExtractor> extractor;
  std::optional<Reference> reference;
};

Comparison comparison_of(const std::vector<std::string>& names, const score::ScoreModel& model,
                         const data::ImageDataset& dataset, int64_t n,
                         const EvaluationOptions& options) {
  Comparison asked;
  bool of_features = false;
  for (const auto& name : names) {
    asked.entries.push_back(find(name));
    check(*asked.entries.back(), n, options);
    of_features = of_features || asked.entries.back()->of_features;
  }
  if (model.transforms.has_missing()) {
    throw ConfigError("--metrics " + names.front() +
                      ": compares whole examples, and data.missing says that some lack values. Ask "
                      "for likelihoods alone.");
  }
  if (of_features) {
    asked.extractor =
        make_feature_extractor(options.samples.features, dataset.example_shape(), model.device);
  }
  if (!options.samples.reference.empty()) {
    asked.reference = read_reference(options.samples.reference);
    check_extractor(*asked.reference, options.samples.reference, *asked.extractor);
  }
  return asked;
}

// All but the values and the seconds.
SampleMetricReport report_of(const Entry& entry, const Comparison& asked, int64_t n,
                             const Samples& samples, const data::ImageDataset& dataset,
                             const EvaluationOptions& options,
                             const diffusion::SamplerOptions& sampler) {
  SampleMetricReport report;
  report.name = entry.name;
  report.n = asked.reference ? asked.reference->moments.n : n;
  report.samples = samples.count;
  if (entry.of_features) report.features = asked.extractor->name;
  report.reference = options.samples.reference;
  report.from = options.samples.given;
  report.sampler = sampler.name;
  report.final = sampler.final;
  report.levels = dataset.levels();
  report.nfe = samples.nfe;
  return report;
}

}  // namespace

bool is_sample_metric(const std::string& name) { return find(name) != nullptr; }

std::vector<SampleMetricReport> evaluate_sample_metrics(const std::vector<std::string>& names,
                                                        const score::ScoreModel& model,
                                                        data::ImageDataset& dataset, int64_t n,
                                                        const EvaluationOptions& options,
                                                        comm::Communicator& comm) {
  const Comparison asked = comparison_of(names, model, dataset, n, options);
  auto start = comm::Clock::now();
  const diffusion::SamplerOptions sampler = sampler_of(options, dataset.example_shape());
  const Samples samples = options.samples.given.empty()
                              ? draw(model, dataset, n, options, sampler, comm)
                              : given(options, dataset);
  Clouds points, features;
  if (comm.rank() == 0) {
    points = {asked.reference ? torch::Tensor() : data_points(dataset, n), samples.x};
    if (asked.extractor && !asked.reference)
      features.data = features_of(*asked.extractor, points.data, options.batch);
    if (asked.extractor)
      features.samples = features_of(*asked.extractor, points.samples, options.batch);
  }
  std::vector<SampleMetricReport> reports;
  for (const Entry* entry : asked.entries) {
    SampleMetricReport report = report_of(*entry, asked, n, samples, dataset, options, sampler);
    const Clouds& clouds = entry->of_features ? features : points;
    if (comm.rank() == 0) {
      report.values = asked.reference ? fd_of_moments(asked.reference->moments, clouds.samples)
                                      : entry->compare(clouds.data, clouds.samples);
    }
    report.seconds = comm::seconds_since(start);  // the first one's hold the sampling
    start = comm::Clock::now();
    reports.push_back(report);
  }
  return reports;
}

void save_reference(data::ImageDataset& dataset, int64_t n, const EvaluationOptions& options,
                    torch::Device device) {
  if (options.samples.features.empty()) {
    throw ConfigError("--save-reference " + options.samples.save_reference +
                      ": no features to take the moments of. Give --features.");
  }
  const auto extractor =
      make_feature_extractor(options.samples.features, dataset.example_shape(), device);
  const auto features = features_of(extractor, data_points(dataset, n), options.batch);
  const std::string name = std::filesystem::path(extractor.name).filename().string();
  write_reference(options.samples.save_reference,
                  {metrics::moments_of(features, "data"), name, extractor.digest});
}

}  // namespace scorenet::evaluate
