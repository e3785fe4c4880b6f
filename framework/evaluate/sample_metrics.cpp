#include "framework/evaluate/sample_metrics.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "framework/comm/deadline.hpp"
#include "framework/core/error.hpp"
#include "framework/core/pixels.hpp"
#include "framework/evaluate/feature_extractor.hpp"
#include "framework/evaluate/generate.hpp"
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
  if (entry.of_features && options.features.empty()) {
    throw ConfigError(std::string("--metrics ") + entry.name +
                      ": compares features, and none are given. Give --features: a classifier's "
                      "snapshot (FILE.safetensors), a TorchScript module (FILE.pt), or pixels.");
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

}  // namespace

bool is_sample_metric(const std::string& name) { return find(name) != nullptr; }

std::vector<SampleMetricReport> evaluate_sample_metrics(const std::vector<std::string>& names,
                                                        const score::ScoreModel& model,
                                                        data::ImageDataset& dataset, int64_t n,
                                                        const EvaluationOptions& options,
                                                        comm::Communicator& comm) {
  std::vector<const Entry*> asked;
  for (const auto& name : names) asked.push_back(find(name));
  for (const Entry* entry : asked) check(*entry, n, options);
  if (model.transforms.has_missing()) {
    throw ConfigError("--metrics " + names.front() +
                      ": compares whole examples, and data.missing says that some lack values. Ask "
                      "for likelihoods alone.");
  }
  std::optional<FeatureExtractor> extractor;
  if (std::any_of(asked.begin(), asked.end(), [](const Entry* e) { return e->of_features; }))
    extractor = make_feature_extractor(options.features, dataset.example_shape(), model.device);

  auto start = comm::Clock::now();
  diffusion::SamplerOptions sampler = options.sampler;
  sampler.hbar_shape = hbar_shape(options);
  sampler.final = default_final(dataset.example_shape());
  const auto seeds = sample_seeds(options.seed, n);
  // Each is told what the sample that it is compared with is told.
  GuidanceOptions guidance;
  if (!model.config.conditions.empty()) guidance.told = told_as(dataset);
  const Generated samples =
      generate(model, dataset.example_shape(), seeds, sampler, guidance, options.batch, comm);
  const NotFinite bad = samples_not_finite(samples.x, seeds);
  if (!bad.sentence.empty()) throw NotFiniteError(bad.sentence);
  const int64_t levels = dataset.levels();
  Clouds points, features;
  if (comm.rank() == 0) {
    points = {
        in_model_range(dataset.read(slot_range(0, n)).examples, levels).to(torch::kFloat64),
        as_stored(score::file_values(model, samples.x, divided_by(model, guidance.told, 0, n)),
                  levels)};
    if (extractor)
      features = {features_of(*extractor, points.data, options.batch),
                  features_of(*extractor, points.samples, options.batch)};
  }
  std::vector<SampleMetricReport> reports;
  for (const Entry* entry : asked) {
    SampleMetricReport report;
    report.name = entry->name;
    report.n = n;
    const Clouds& clouds = entry->of_features ? features : points;
    if (comm.rank() == 0) report.values = entry->compare(clouds.data, clouds.samples);
    if (entry->of_features) report.features = extractor->name;
    report.sampler = options.sampler.name;
    report.final = sampler.final;
    report.levels = levels;
    report.nfe = samples.nfe;
    report.seconds = comm::seconds_since(start);  // the first one's hold the sampling
    start = comm::Clock::now();
    reports.push_back(report);
  }
  return reports;
}

}  // namespace scorenet::evaluate
