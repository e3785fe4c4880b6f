// Where weights lie: in the order in which backward makes their gradients, the same on all ranks.
#include "framework/train/gradient_plan.hpp"

#include <numeric>

#include "tests/framework/train/sim_training.hpp"

namespace scorenet::train {
namespace {

TEST(GradientPlan, ARehearsalSeesEachParameterOnceAndLeavesNoGradient) {
  const auto model = score::build_model(sim_config(), {2}, torch::kCPU);
  const Rehearsal rehearsal = rehearse(model, {2}, 3);
  const auto parameters = score::named_parameters(model);
  std::vector<int64_t> sorted = rehearsal.order, all(parameters.size());
  std::sort(sorted.begin(), sorted.end());
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(sorted, all);
  EXPECT_TRUE(std::is_sorted(rehearsal.ready_s.begin(), rehearsal.ready_s.end()));
  for (const auto& [name, tensor] : parameters) EXPECT_FALSE(tensor.grad().defined()) << name;
}

TEST(GradientPlan, BackwardFillsTheBufferFromItsFront) {
  on_ranks(2, [](comm::Communicator& comm) {
    const SimTraining training(sim_config(), comm);
    // The last layer's gradients come first: of weight and bias alike.
    const auto order = training.plan.layout.order();
    const auto& names = training.parameters.names();
    EXPECT_EQ(names[static_cast<size_t>(order.front())].rfind("out.", 0), 0u)
        << names[static_cast<size_t>(order.front())];
    EXPECT_EQ(names[static_cast<size_t>(order.back())].rfind("hidden.0.", 0), 0u)
        << names[static_cast<size_t>(order.back())];
  });
}

TEST(GradientPlan, BucketsCoverTheBuffer) {
  auto config = sim_config();
  config.comm.bucket_mb = config.comm.first_bucket_mb = config.comm.last_bucket_mb = 1e-4;
  on_ranks(2, [&](comm::Communicator& comm) {
    const SimTraining training(config, comm);
    ASSERT_GT(training.plan.buckets.size(), 1u);
    int64_t at = 0;
    for (const reduce::Bucket& bucket : training.plan.buckets) {
      EXPECT_EQ(bucket.offset, at);
      at += bucket.count;
    }
    EXPECT_EQ(at, training.plan.layout.total);
  });
}

TEST(GradientPlan, IsDescribedInALine) {
  const GradientPlan plan{
      {}, {{}, {}}, {int64_t{4} << 20, int64_t{1} << 19, int64_t{1} << 19}, "given"};
  EXPECT_EQ(describe(plan, sim_config()),
            "2 buckets of at most 4 MiB, first 0.5, last 0.5 (given), all-reduced");
}

}  // namespace
}  // namespace scorenet::train
