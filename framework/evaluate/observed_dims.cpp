#include "framework/evaluate/observed_dims.hpp"

#include <map>
#include <string>

#include "framework/core/error.hpp"

namespace scorenet::evaluate {
namespace {

// Rows of a batch that miss the same values.
std::vector<std::vector<int64_t>> groups_of(const torch::Tensor& observed) {
  const auto masks = observed.flatten(1).to(torch::kUInt8).contiguous();
  const auto dims = static_cast<size_t>(masks.size(1));
  std::map<std::string, size_t> known;
  std::vector<std::vector<int64_t>> groups;
  for (int64_t i = 0; i < masks.size(0); ++i) {
    const auto* const bytes = reinterpret_cast<const char*>(masks[i].const_data_ptr<uint8_t>());
    const auto [found, is_new] = known.emplace(std::string(bytes, dims), groups.size());
    if (is_new) groups.emplace_back();
    groups[found->second].push_back(i);
  }
  return groups;
}

torch::Tensor packed(const Metric& metric, const ResultRows& layout, const MetricBatch& batch) {
  std::vector<torch::Tensor> rows;
  for (const auto& result : metric.compute(batch)) rows.push_back(layout.pack(result));
  return torch::stack(rows, 1);
}

}  // namespace

diffusion::Denoiser at_places(diffusion::Denoiser whole, torch::Tensor places,
                              std::vector<int64_t> example_shape) {
  return [whole = std::move(whole), places = std::move(places), shape = std::move(example_shape)](
             const torch::Tensor& x, const diffusion::NoiseLevel& level) {
    std::vector<int64_t> full{x.size(0)};
    full.insert(full.end(), shape.begin(), shape.end());
    const auto dims = static_cast<int64_t>(c10::multiply_integers(shape));
    const auto at = places.to(x.device());
    const auto padded = torch::zeros({x.size(0), dims}, x.options()).index_copy(1, at, x);
    const diffusion::Denoised estimate = whole(padded.view(full), level);
    const auto part = [&](const torch::Tensor& t) {
      return t.defined() ? t.flatten(1).index_select(1, at.to(t.device())) : t;
    };
    return diffusion::Denoised{part(estimate.x0), part(estimate.eps), part(estimate.raw_variance)};
  };
}

torch::Tensor rows_of_batch(const Metric& metric, const ResultRows& layout,
                            const score::ScoreModel& model, const models::Conditions& given,
                            const data::Batch& batch, const transform::NetworkValues& values,
                            const std::string& where) {
  if (!values.observed.defined()) {
    return packed(
        metric, layout,
        {score::denoiser_for(model, given), values.x, batch.indices, values.log_det, given.any()});
  }
  const int64_t count = values.x.size(0);
  auto all = torch::zeros({count, metric.results(), layout.width()}, torch::kFloat64);
  for (const auto& group : groups_of(values.observed)) {
    const auto rows = torch::tensor(group, torch::kInt64);
    const auto places = values.observed[group[0]].flatten().nonzero().flatten();
    std::vector<int64_t> slots;
    for (const int64_t row : group) slots.push_back(batch.indices[static_cast<size_t>(row)]);
    if (places.numel() == 0) {
      throw DataError(where + ": all values of sample " + std::to_string(slots[0]) +
                      " are missing, so it has no likelihood. Leave it out of the data.");
    }
    const auto device = values.x.device();
    const auto x =
        values.x.flatten(1).index_select(0, rows.to(device)).index_select(1, places.to(device));
    const auto given_rows =
        given.mapped([&rows](const torch::Tensor& t) { return t.index_select(0, rows); });
    const auto denoiser =
        at_places(score::denoiser_for(model, given_rows), places, values.x.sizes().slice(1).vec());
    const MetricBatch part{denoiser, x, slots, values.log_det.index_select(0, rows), given.any()};
    all.index_copy_(0, rows, packed(metric, layout, part));
  }
  return all;
}

}  // namespace scorenet::evaluate
