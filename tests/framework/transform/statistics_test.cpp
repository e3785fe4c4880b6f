// Mean and deviation of a split: those of all its values, bit for bit the same on any ranks.
#include "framework/transform/statistics.hpp"

#include <torch/utils.h>

#include "framework/comm/mpi_communicator.hpp"
#include "tests/support/expect_error.hpp"

namespace scorenet::transform {
namespace {

Split split_of(const torch::Tensor& x) {
  return {x.size(0), x.sizes().slice(1).vec(), "a.h5",
          [x](int64_t first, int64_t count) { return x.narrow(0, first, count); }};
}

TransformChain measured(const std::vector<std::string>& entries, const torch::Tensor& x,
                        const std::string& missing = "") {
  const comm::MpiEnvironment environment;
  const auto comm = comm::make_mpi_communicator(environment);
  TransformChain chain(entries, missing);
  measure_statistics(chain, split_of(x),
                     {comm->rank(), comm->size(), [&comm](torch::Tensor& values, int root) {
                        comm->broadcast(
                                {values.data_ptr(), values.numel(), comm::DataType::float64}, root,
                                "moments")
                            .wait();
                      }});
  return chain;
}

TransformChain measured_alone(const std::vector<std::string>& entries, const torch::Tensor& x,
                              const std::string& missing = "") {
  TransformChain chain(entries, missing);
  measure_statistics(chain, split_of(x), {});
  return chain;
}

torch::Tensor values(int64_t n) {
  torch::manual_seed(0);
  return 1000 + torch::rand({n, 3, 2, 2}, torch::kFloat64);
}

TEST(Statistics, AreTheSameBitsOnAnyRanks) {
  const std::vector<std::string> entries = {"standardise(pixel)", "arcsinh(1)",
                                            "standardise(channel)", "standardise(all)"};
  for (const int64_t n : {5, 700}) {  // fewer rows than blocks, and more
    const auto here = measured(entries, values(n)).state();
    const auto alone = measured_alone(entries, values(n)).state();
    ASSERT_EQ(here.size(), 6u);
    for (size_t i = 0; i < here.size(); ++i) {
      EXPECT_EQ(here[i].first, alone[i].first);
      EXPECT_TRUE(torch::equal(here[i].second, alone[i].second)) << here[i].first;
    }
  }
}

TEST(Statistics, AreMeanAndPopulationDeviationOfWhatTheStagesBeforeGive) {
  const auto x = values(700);
  TransformChain chain = measured({"affine(1000, 2)", "standardise(channel)"}, x);
  const auto y = (x - 1000) / 2;
  const auto by_channel = y.transpose(0, 1).flatten(1);
  EXPECT_TRUE(torch::allclose(chain.state()[0].second, by_channel.mean(1), 1e-13, 0));
  EXPECT_TRUE(torch::allclose(chain.state()[1].second, by_channel.std(1, false), 1e-12, 0));
}

TEST(Statistics, LeaveOutWhatIsMissing) {
  auto x = torch::tensor({{1.0, 5.0}, {3.0, -9.0}, {-9.0, 9.0}}, torch::kFloat64);
  const auto state = measured({"standardise(pixel)"}, x, "-9").state();
  EXPECT_TRUE(torch::equal(state[0].second, torch::tensor({2.0, 7.0}, torch::kFloat64)));
  EXPECT_TRUE(torch::equal(state[1].second, torch::tensor({1.0, 2.0}, torch::kFloat64)));
}

TEST(Statistics, AConstantPartIsRefusedByName) {
  auto x = values(300);
  x.select(1, 2).fill_(0.1);
  EXPECT_ERROR(measured({"log(1)", "standardise(channel)"}, x), DataError, "a.h5",
               "data.transforms[1] = \"standardise(channel)\"", "channel 2 is constant at 0.0953");
  EXPECT_ERROR(measured({"standardise(pixel)"}, x), DataError, "value at (2, 0, 0)");
  EXPECT_ERROR(measured({"standardise(all)"}, torch::full({9, 2}, 0.1, torch::kFloat64)), DataError,
               "the split is constant at 0.1");
  const auto gone = torch::tensor({{1.0, -9.0}, {2.0, -9.0}}, torch::kFloat64);
  EXPECT_ERROR(measured({"standardise(pixel)"}, gone, "-9"), DataError, "has only missing values");
}

}  // namespace
}  // namespace scorenet::transform
