// Extractors that others bring.
#include "framework/evaluate/feature_extractor.hpp"

#include <torch/csrc/jit/api/module.h>
#include <torch/utils.h>

#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::evaluate {
namespace {

class TorchScriptFeatures : public testing::Test {
 protected:
  // Of a module that returns this of x.
  FeatureExtractor returning(const std::string& expression) const {
    torch::jit::Module module("M");
    module.define("def forward(self, x):\n  return " + expression + "\n");
    module.save(path_);
    return make_feature_extractor(path_, {1, 2, 2}, torch::kCPU);
  }
  test::TemporaryFolder folder_;
  std::string path_ = folder_.file("features.pt");
};

TEST_F(TorchScriptFeatures, AreOneRowForEachExample) {
  const auto x = torch::arange(12, torch::kFloat32).view({3, 1, 2, 2});
  const auto rows = x.flatten(1).to(torch::kFloat64);
  EXPECT_TRUE(torch::equal(returning("2 * x").features(x), 2 * rows));
  for (const char* other :
       {"x[:2]", "x.sum(0)", "x.flatten()", "x.flatten(1).sum(1)", "(x, x)", "1"})
    EXPECT_ERROR(returning(other).features(x), ShapeError, path_,
                 "something else than one row of features for each of 3 examples");
  EXPECT_ERROR(returning("x.view([5])").features(x), ShapeError, path_, "(3, 1, 2, 2)",
               "Give a module that takes such examples");
}

}  // namespace
}  // namespace scorenet::evaluate
