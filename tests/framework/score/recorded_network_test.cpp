// Which calls are computed, which are recorded and launched again, and that each gets its own
// values. A graph that calls its work at every launch stands in for the GPU's.
#include "framework/score/recorded_network.hpp"

#include <gtest/gtest.h>

namespace scorenet {
namespace {

int64_t graphs = 0;  // recorded by all tests so far

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
std::unique_ptr<DeviceGraph> record_graph(torch::Device, const std::function<void()>& work) {
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
    EXPECT_TRUE(torch::equal(results[static_cast<size_t>(k)], torch::full({2, 3}, k + 10.0F))) << k;
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
  for (int k = 0; k < 4; ++k) EXPECT_TRUE(torch::equal(call(k, 5), torch::full({5, 3}, k + 10.0F)));
  EXPECT_EQ(direct_ - before, 4);
  EXPECT_EQ(recorded(), 4);
}

}  // namespace
}  // namespace score
}  // namespace scorenet
