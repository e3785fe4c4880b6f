// Which calls are computed, which are recorded and launched again, and that each gets its own
// values. A graph that calls its work at every launch stands in for the GPU's.
#include "framework/score/recorded_network.hpp"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

namespace scorenet {
namespace {

int64_t graphs = 0;  // recorded by all tests so far
bool memory_is_full = false;

class RepeatedWork : public DeviceGraph {
 public:
  explicit RepeatedWork(std::function<void()> work) : work_(std::move(work)) {}
  void launch() override { work_(); }

 private:
  std::function<void()> work_;
};

}  // namespace

// In place of those of core/device_graph_absent.cpp.
bool records_graphs(torch::Device) { return true; }
std::unique_ptr<DeviceGraph> record_graph(torch::Device, const std::function<void()>& work,
                                          const DeviceGraph*) {
  TORCH_CHECK_WITH(OutOfMemoryError, !memory_is_full, "no memory left");
  ++graphs;
  work();
  return std::make_unique<RepeatedWork>(work);
}

namespace score {
namespace {

// x + log_snr, counted by the tensor that it is called with.
class RecordedNetworkTest : public testing::Test {
 protected:
  torch::Tensor call(double x, int64_t batch = 2, torch::Dtype dtype = torch::kFloat32,
                     bool labelled = false) {
    const NetworkCall input{torch::full({batch, 3}, x), torch::full({batch}, 10.0, torch::kFloat64),
                            labelled ? torch::zeros({batch}, torch::kInt64) : torch::Tensor()};
    const void* const given = input.x.data_ptr();
    const auto evaluate = [this, given](const NetworkCall& in) {
      if (in.x.data_ptr() == given) ++direct_;
      return in.x + in.log_snr.unsqueeze(1).to(torch::kFloat32);
    };
    return network_(evaluate, input, dtype);
  }
  // How many graphs this test has recorded.
  int64_t recorded() const { return graphs - graphs_before_; }

  int64_t direct_ = 0;  // evaluations of the caller's own tensors
  int64_t graphs_before_ = graphs;
  RecordedNetwork network_;
};

TEST_F(RecordedNetworkTest, TheFirstTwoCallsOfAShapeAreComputedAndTheThirdRecords) {
  for (int k = 0; k < 2; ++k) call(1);
  EXPECT_EQ(direct_, 2);
  EXPECT_EQ(recorded(), 0);
  for (int k = 0; k < 5; ++k) call(1);
  EXPECT_EQ(direct_, 2);
  EXPECT_EQ(recorded(), 1);
}

TEST_F(RecordedNetworkTest, EveryCallGetsTheValuesOfItsOwnInput) {
  std::vector<torch::Tensor> results;
  for (int k = 0; k < 6; ++k) results.push_back(call(k));
  // All at the end: a later call must not have written over an earlier one's result.
  for (int k = 0; k < 6; ++k)
    EXPECT_TRUE(torch::equal(results[static_cast<size_t>(k)], torch::full({2, 3}, k + 10.0))) << k;
}

TEST_F(RecordedNetworkTest, BatchDtypeAndLabelsMakeAShape) {
  for (int k = 0; k < 3; ++k) {
    call(1);
    call(1, 5);
    call(1, 2, torch::kBFloat16);
    call(1, 2, torch::kFloat32, true);
  }
  EXPECT_EQ(recorded(), 4);
}

TEST_F(RecordedNetworkTest, AFifthShapeIsComputedWithoutARecording) {
  for (int64_t batch = 1; batch <= 4; ++batch)
    for (int k = 0; k < 3; ++k) call(1, batch);
  EXPECT_EQ(recorded(), 4);
  const int64_t before = direct_;
  for (int k = 0; k < 4; ++k) EXPECT_TRUE(torch::equal(call(k, 5), torch::full({5, 3}, k + 10.0)));
  EXPECT_EQ(direct_ - before, 4);
  EXPECT_EQ(recorded(), 4);
}

// log_snr sin(x): rows of their own, with derivatives of every order.
torch::Tensor waves(const NetworkCall& in) {
  return in.x.sin() * in.log_snr.unsqueeze(1).to(torch::kFloat32);
}

torch::Tensor rows(double first, int64_t batch) {
  return (torch::arange(batch * 3, torch::kFloat32).view({batch, 3}) * 0.1 + first)
      .requires_grad_(true);
}

class RecordedGradientTest : public testing::Test {
 protected:
  ~RecordedGradientTest() override { memory_is_full = false; }

  torch::Tensor call(const torch::Tensor& x) {
    return network_.with_gradient()(waves, {x, torch::full({x.size(0)}, 2.0, torch::kFloat64), {}},
                                    torch::kFloat32);
  }
  static torch::Tensor gradient(const torch::Tensor& y, const torch::Tensor& x,
                                bool again = false) {
    return torch::autograd::grad({y}, {x}, {torch::full_like(y, 3.0)}, again)[0];
  }
  static void expect_right(const torch::Tensor& y, const torch::Tensor& x,
                           const torch::Tensor& gradient) {
    EXPECT_TRUE(torch::allclose(y, 2 * x.sin()));
    EXPECT_TRUE(torch::allclose(gradient, 6 * x.cos()));
  }
  void call_once(int64_t batch, double first = 1) {
    const torch::Tensor x = rows(first, batch), y = call(x);
    expect_right(y, x, gradient(y, x));
  }
  void call_thrice(int64_t batch) {
    for (int k = 0; k < 3; ++k) call_once(batch, k);
  }
  int64_t recorded() const { return graphs - graphs_before_; }

  int64_t graphs_before_ = graphs;
  RecordedNetwork network_;
};

TEST_F(RecordedGradientTest, TheThirdCallRecordsAForwardAndABackwardPass) {
  for (int k = 0; k < 6; ++k) {
    EXPECT_EQ(recorded(), k < 3 ? 0 : 2) << k;
    call_once(4, k);
  }
}

TEST_F(RecordedGradientTest, ALateBackwardPassIsThatOfItsOwnCall) {
  call_thrice(4);
  const torch::Tensor a = rows(1, 4), y_a = call(a), b = rows(2, 4), y_b = call(b);
  expect_right(y_a, a, gradient(y_a, a, /*again=*/true));
  expect_right(y_b, b, gradient(y_b, b));
  expect_right(y_a, a, gradient(y_a, a));
}

TEST_F(RecordedGradientTest, ALaunchWithoutGradientsInBetweenChangesNothing) {
  call_thrice(4);
  const torch::Tensor x = rows(1, 4), y = call(x);
  const torch::NoGradGuard none;
  for (int k = 0; k < 3; ++k) network_(waves, {rows(7, 4), torch::ones({4}), {}}, torch::kFloat32);
  expect_right(y, x, gradient(y, x));
}

TEST_F(RecordedGradientTest, SmallerBatchesRunInTheNextQuarterOfTheLargest) {
  call_thrice(8);
  EXPECT_EQ(recorded(), 2);
  for (const int64_t batch : {7, 7, 8}) call_once(batch);  // all in 8 rows
  EXPECT_EQ(recorded(), 2);
  for (const int64_t batch : {6, 5, 6, 5}) call_once(batch);  // in 6 rows
  EXPECT_EQ(recorded(), 4);
  call_thrice(9);  // a new largest: its own recordings
  EXPECT_EQ(recorded(), 6);
}

TEST_F(RecordedGradientTest, ASecondDerivativeIsRight) {
  call_thrice(4);
  const torch::Tensor x = rows(1, 4), y = call(x);
  const torch::Tensor first =
      torch::autograd::grad({y.sum()}, {x}, {}, /*retain_graph=*/true, /*create_graph=*/true)[0];
  EXPECT_TRUE(torch::allclose(first, 2 * x.cos()));
  EXPECT_TRUE(torch::allclose(torch::autograd::grad({first.sum()}, {x})[0], -2 * x.sin()));
}

TEST_F(RecordedGradientTest, WhatDoesNotFitIntoTheMemoryIsComputedDirectly) {
  memory_is_full = true;
  call_thrice(4);
  call_thrice(4);
  EXPECT_EQ(recorded(), 0);
}

}  // namespace
}  // namespace score
}  // namespace scorenet
