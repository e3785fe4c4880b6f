// Files of models that are read, but are none for the purpose.
#include "framework/data/hdf5.hpp"
#include "framework/score/mixture_file.hpp"
#include "framework/score/snapshot.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::score {
namespace {

TEST(RefusedModels, AClassifierIsNoDenoiser) {
  const ScoreModel model = load_snapshot(SNAPSHOTS "classifier", torch::kCPU).model;
  EXPECT_ERROR(denoiser_for(model), ConfigError, SNAPSHOTS "classifier", "is not a denoiser");
}

class RefusedMixtures : public testing::Test {
 protected:
  test::TemporaryFolder folder_;
  std::string path_ = folder_.file("law.h5");
};

// A byte is stored for each value, a double is computed with: compressed, all zeros, the doubles
// take more than any packed file of this size can hold.
TEST_F(RefusedMixtures, MeansThatCannotBeInTheirFileAreRefusedBeforeMemoryIsTaken) {
  auto file = data::Hdf5File::create(path_);
  file.write_array("/means", torch::zeros({4000000}, torch::kUInt8), {1000000, 9});
  file.write_array("/spectrum", torch::ones({4, 4}, torch::kFloat64));
  file.close();
  EXPECT_ERROR(read_mixture(path_), DataError, path_, "means", "(4000000)",
               "cannot be in a file of this size");
}

TEST_F(RefusedMixtures, AFieldHasADeviationForEachMean) {
  auto file = data::Hdf5File::create(path_);
  file.write_array("/means", torch::zeros({2}, torch::kFloat64));
  file.write_array("/deviations", torch::ones({3}, torch::kFloat64));
  file.write_array("/spectrum", torch::ones({4, 4}, torch::kFloat64));
  file.close();
  EXPECT_ERROR(read_mixture(path_), DataError, path_, "means (2), deviations (3)",
               "expected (C) and (C)");
}

}  // namespace
}  // namespace scorenet::score
