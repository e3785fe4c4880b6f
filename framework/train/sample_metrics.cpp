#include "framework/train/sample_metrics.hpp"

#include <torch/utils.h>

#include <cmath>

#include "framework/comm/deadline.hpp"
#include "framework/core/error.hpp"
#include "framework/core/pixels.hpp"
#include "framework/metrics/wasserstein.hpp"
#include "framework/train/generate.hpp"

namespace scorenet::train {
namespace {

constexpr int64_t kMostPoints = 10'000;  // 10^8 costs: 6 GB

void check(int64_t n) {
  if (n <= kMostPoints) return;
  throw ConfigError("--metrics w2: " + std::to_string(n) +
                    " examples against as many samples; at "
                    "most " +
                    std::to_string(kMostPoints) + " fit into memory. Give --n.");
}

torch::Tensor examples(data::ImageDataset& dataset, int64_t n) {
  return in_model_range(dataset.read(slot_range(0, n)).examples).to(torch::kFloat64);
}

// Other seeds of the evaluation draw other samples.
std::vector<int64_t> sample_seeds(uint64_t seed, int64_t n) {
  return slot_range(static_cast<int64_t>(seed) * kMostPoints, n);
}

}  // namespace

bool is_sample_metric(const std::string& name) { return name == "w2"; }

SampleMetricReport evaluate_sample_metric(const std::string& name, const ScoreModel& model,
                                          data::ImageDataset& dataset, int64_t n,
                                          const EvaluationOptions& options,
                                          comm::Communicator& comm) {
  check(n);
  const auto start = comm::Clock::now();
  diffusion::SamplerOptions sampler = options.sampler;
  if (!options.hbar_schedule.empty())
    sampler.hbar_shape = diffusion::parse_hbar_shape(options.hbar_schedule);
  const Generated samples = generate(model, dataset.example_shape(), sample_seeds(options.seed, n),
                                     sampler, {}, options.batch, comm);
  metrics::Wasserstein distance{std::nan(""), std::nan("")};
  if (comm.rank() == 0) distance = metrics::wasserstein2(examples(dataset, n), samples.x);
  SampleMetricReport report;
  report.name = name;
  report.n = n;
  report.values = {{"w2", distance.root}, {"w2_squared", distance.squared}};
  report.sampler = options.sampler.name;
  report.nfe = samples.nfe;
  report.seconds = comm::seconds_since(start);
  return report;
}

}  // namespace scorenet::train
