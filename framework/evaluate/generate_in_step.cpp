#include "framework/evaluate/generate_in_step.hpp"

#include <torch/utils.h>

#include "framework/core/error.hpp"
#include "framework/data/shard.hpp"
#include "framework/diffusion/sampler/sampler.hpp"

namespace scorenet::evaluate {
namespace {

void check(const diffusion::SamplerOptions& sampler, size_t seeds, int ranks) {
  if (sampler.name != "pc") {
    throw ConfigError("--corrector-norms batch with --sampler " + sampler.name +
                      ": only pc has a corrector. Leave it out.");
  }
  if (seeds >= static_cast<size_t>(ranks)) return;
  throw ConfigError("--corrector-norms batch: " + std::to_string(seeds) + " seeds on " +
                    std::to_string(ranks) + " ranks. Give at least one seed a rank.");
}

// The mean of all ranks' norms, ().
torch::Tensor global_mean(const torch::Tensor& norms, comm::Communicator& comm) {
  double sums[2] = {norms.sum().item<double>(), static_cast<double>(norms.numel())};
  comm.all_reduce({sums, 2, comm::DataType::float64}, comm::ReduceOp::sum, "corrector's norms")
      .wait();
  return torch::full({}, sums[0] / sums[1], norms.options());
}

}  // namespace

Generated generate_in_step(const score::ScoreModel& model, c10::IntArrayRef example_shape,
                           const std::vector<int64_t>& seeds,
                           const diffusion::SamplerOptions& sampler, const GuidanceOptions& asked,
                           comm::Communicator& comm) {
  check(sampler, seeds.size(), comm.size());
  const torch::NoGradGuard no_grad;
  const GuidanceOptions guidance = with_labels(model, asked, seeds);
  diffusion::SamplerOptions in_step = sampler;
  in_step.norm_average = [&comm](const torch::Tensor& norms) { return global_mean(norms, comm); };
  const auto n = static_cast<int64_t>(seeds.size());
  const data::Range mine = data::shard(n, comm.rank(), comm.size());
  const std::vector<int64_t> part(seeds.begin() + mine.begin, seeds.begin() + mine.end);
  const auto shape = example_shape.vec();
  const auto result =
      diffusion::sample(guided_denoiser(model, guidance, mine), *model.schedule, in_step,
                        diffusion::draw_start(*model.schedule, part, shape, 0, model.device),
                        diffusion::make_slot_noise(part, shape, 0, model.device));
  std::vector<int64_t> full{n};
  full.insert(full.end(), shape.begin(), shape.end());
  const auto all = torch::zeros(full, torch::kFloat64);
  all.narrow(0, mine.begin, mine.size()).copy_(result.x);
  comm.all_reduce_now({all.data_ptr(), all.numel(), comm::DataType::float64}, comm::ReduceOp::sum,
                      "samples of all ranks");
  return {all, result.nfe};
}

}  // namespace scorenet::evaluate
