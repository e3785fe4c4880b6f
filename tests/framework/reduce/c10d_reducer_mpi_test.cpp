// Our reducer against LibTorch's: the same gradients over the same ranks, up to the order
// of two roundings.
#include <gtest/gtest.h>
#include <torch/types.h>

#include "framework/comm/mpi_communicator.hpp"
#include "framework/reduce/c10d_reducer.hpp"
#include "framework/reduce/gradient_reducer.hpp"

namespace scorenet::reduce {
namespace {

std::vector<torch::Tensor> weights() {
  std::vector<torch::Tensor> w;
  for (int64_t i = 0; i < 5; ++i) {
    w.push_back((torch::cos(torch::arange(96 * 96) + i).reshape({96, 96}) / 10).requires_grad_());
  }
  return w;
}

torch::Tensor loss(const std::vector<torch::Tensor>& w, int rank, int step) {
  auto x = torch::sin(torch::arange(4 * 96) + 1000 * rank + step).reshape({4, 96});
  for (const torch::Tensor& layer : w) x = torch::tanh(x.mm(layer));
  return x.square().sum();
}

TEST(C10dReducer, AgreesWithOurs) {
  const comm::MpiEnvironment environment;
  const auto c = comm::make_mpi_communicator(environment);
  const auto ours = weights();
  const auto theirs = weights();
  const FlatLayout layout = make_flat_layout(std::vector<int64_t>(5, 96 * 96));
  GradientReducer reducer(ours, torch::zeros({layout.total}), layout, *c,
                          {{80'000, 40'000, 40'000}});
  C10dReducer rival(theirs, *c, {80'000, 40'000});
  for (int step = 0; step < 4; ++step) {  // the rival rebuilds its buckets before step 1
    reducer.zero_gradients();
    reducer.begin(true);
    loss(ours, c->rank(), step).backward();
    reducer.finish();
    rival.zero_gradients();
    rival.begin();
    loss(theirs, c->rank(), step).backward();
    for (size_t i = 0; i < ours.size(); ++i) {
      // It averages, we sum. float32: a few roundings of 2^-24.
      const auto sum = theirs[i].grad() * double(c->size());
      const auto difference = (ours[i].grad() - sum).norm() / sum.norm();
      EXPECT_LE(difference.item<double>(), 1e-6) << "step " << step << " parameter " << i;
    }
  }
  if (c->size() > 1) {
    // Five weights of 36,864 bytes in buckets of at most 80,000: the first and last alone,
    // 2 + 1 between.
    EXPECT_EQ(reducer.stats().calls, 4);
    EXPECT_EQ(reducer.stats().bytes, 5 * 96 * 96 * 4);
    EXPECT_EQ(rival.bytes(), 4 * 5 * 96 * 96 * 4);
  }
}

}  // namespace
}  // namespace scorenet::reduce
