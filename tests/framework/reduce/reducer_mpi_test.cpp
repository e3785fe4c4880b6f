// The reducer over real processes: n ranks of B give the gradient of one rank of n B, in
// float32 and bfloat16.
#include <gtest/gtest.h>
#include <torch/types.h>

#include "framework/comm/mpi_communicator.hpp"
#include "framework/reduce/gradient_reducer.hpp"

namespace scorenet::reduce {
namespace {

std::vector<torch::Tensor> weights(torch::Dtype dtype) {
  std::vector<torch::Tensor> w;
  for (int64_t i = 0; i < 4; ++i) {
    w.push_back(
        (torch::cos(torch::arange(64 * 64)).reshape({64, 64}) / 8).to(dtype).requires_grad_());
  }
  return w;
}

torch::Tensor loss(const std::vector<torch::Tensor>& w, torch::Tensor x) {
  for (const torch::Tensor& layer : w) x = torch::tanh(x.mm(layer));
  return x.square().sum();
}

torch::Tensor batch(int64_t first, int64_t count, torch::Dtype dtype) {
  return torch::sin(torch::arange(first * 64, (first + count) * 64)).reshape({count, 64}).to(dtype);
}

void check_parity(torch::Dtype dtype, double tolerance) {
  const comm::MpiEnvironment environment;
  const auto c = comm::make_mpi_communicator(environment);
  const int64_t n = c->size();
  const auto one = weights(dtype);
  loss(one, batch(0, 4 * n, dtype)).backward();
  const auto w = weights(dtype);
  const FlatLayout layout = make_flat_layout(std::vector<int64_t>(4, 64 * 64));
  GradientReducer reducer(w, torch::zeros({layout.total}, dtype), layout, *c, {{20000, 4, 4}});
  for (int step = 0; step < 3; ++step) {
    reducer.zero_gradients();
    reducer.begin(true);
    loss(w, batch(4 * c->rank(), 4, dtype)).backward();
    reducer.finish();
    for (size_t i = 0; i < 4; ++i) {
      const auto difference = (w[i].grad() - one[i].grad()).to(torch::kFloat64).norm();
      EXPECT_LE((difference / one[i].grad().to(torch::kFloat64).norm()).item<double>(), tolerance);
    }
  }
}

// float32: sums of tens of terms in another order, 2^-24 each. bfloat16: 2^-9 a rounding,
// several a gradient.
TEST(ReducerOverMpi, AgreesWithOneRankInFloat32) { check_parity(torch::kFloat32, 1e-5); }
TEST(ReducerOverMpi, AgreesWithOneRankInBFloat16) { check_parity(torch::kBFloat16, 2e-2); }

}  // namespace
}  // namespace scorenet::reduce
