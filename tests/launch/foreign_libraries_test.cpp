// Networks of five libraries, against what each library's own Python says of them: outputs, a
// trajectory of 20 steps and the likelihood along the ODE. data/foreign/make_foreign_reference.py
// made both.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "framework/data/hdf5.hpp"
#include "framework/files/atomic_file.hpp"
#include "models/torchscript.hpp"
#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

constexpr double kLargest = 1e-4;  // difference, of the larger of 1 and the reference

// Not a ScoreNetwork's forward: what the file itself says.
class Raw : public models::TorchScriptNetwork {
 public:
  using TorchScriptNetwork::TorchScriptNetwork;
  torch::Tensor forward(const models::NetworkInput&) override { return {}; }
};

class Library : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    reference_ = nlohmann::json::parse(files::read_file(FOREIGN + GetParam() + ".json"));
    shape_ = reference_["shape"].get<std::vector<int64_t>>();
    shape_.insert(shape_.begin(), 2);
  }
  torch::Tensor numbers(const char* key) const {
    return torch::tensor(reference_[key].get<std::vector<double>>(), torch::kFloat64);
  }
  std::string words(const char* key) const {
    std::string text;
    for (const auto& word : reference_[key]) text += " " + word.get<std::string>();
    return text;
  }
  std::string network() const {
    return " --network " FOREIGN + GetParam() + ".pt --model.convention_check off" +
           words("options");
  }
  std::string shape_option() const {
    std::string text;
    for (size_t i = 1; i < shape_.size(); ++i)
      text += (i > 1 ? "," : " --shape ") + std::to_string(shape_[i]);
    return text;
  }
  // Told in the table of models/README.md, too.
  void expect_close(const char* what, const torch::Tensor& found, const torch::Tensor& expected) {
    ASSERT_EQ(found.numel(), expected.numel());
    const double scale = std::max(1.0, expected.abs().max().item<double>());
    const double difference =
        (found.reshape(-1) - expected.reshape(-1)).abs().max().item<double>() / scale;
    EXPECT_LT(difference, kLargest) << what;
    std::printf("%-10s %-34s %-12s %.1e\n", GetParam().c_str(),
                reference_["library"].get<std::string>().c_str(), what, difference);
  }

  nlohmann::json reference_;
  std::vector<int64_t> shape_;
  Folder folder_;
};

TEST_P(Library, OutputsAreThoseOfItsOwnModule) {
  const bool labelled = !reference_["labels"].empty();
  Raw network(files::read_file(FOREIGN + GetParam() + ".pt"), GetParam(),
              labelled ? models::ThirdInput::label : models::ThirdInput::none, torch::kCPU);
  const torch::Tensor label = labelled ? torch::ones({2}, torch::kInt64) : torch::Tensor();
  const torch::NoGradGuard no_grad;
  const auto output = network.call(numbers("x").reshape(shape_).to(torch::kFloat32),
                                   numbers("level").to(torch::kFloat32), label);
  expect_close("output", output.to(torch::kFloat64), numbers("output"));
}

TEST_P(Library, ATrajectoryOfTwentyStepsIsItsOwn) {
  const Outcome done =
      run("SCORENET sample" + network() + shape_option() + words("told") + words("sampler") +
          " --final state --seeds 0-1 --save-h5 --trajectory "
          "--outdir " +
          (folder_ / "out"));
  ASSERT_EQ(done.exit_code, 0) << done.err;
  const auto file = data::Hdf5File::open(folder_ / "out/samples.h5");
  const torch::Tensor path = file.array("/path").read_all(torch::kFloat64);
  expect_close("start", path.select(1, 0), numbers("start"));
  expect_close("trajectory", path.select(1, path.size(1) - 1), numbers("trajectory"));
}

TEST_P(Library, TheLikelihoodAlongTheOdeIsItsOwn) {
  auto file = data::Hdf5File::create(folder_ / "data.h5");
  file.write_array("/test/images", numbers("data").reshape(shape_).to(torch::kFloat32));
  if (!reference_["labels"].empty())
    file.write_array("/test/labels", numbers("labels").to(torch::kInt64));
  file.close();
  const Outcome done = run("SCORENET evaluate" + network() + " --data " + (folder_ / "data.h5") +
                               " --metrics ode --batch 1 --exact-trace" + words("solver") +
                               " --per-example " + (folder_ / "nats.h5"),
                           /*limit_s=*/500);
  ASSERT_EQ(done.exit_code, 0) << done.err;
  const auto nats = data::Hdf5File::open(folder_ / "nats.h5");
  expect_close("likelihood", nats.array("/ode").read_all(torch::kFloat64), numbers("nats"));
}

INSTANTIATE_TEST_SUITE_P(Families, Library,
                         testing::Values("diffusers", "dit", "azula", "torchcfm", "edm"),
                         [](const auto& family) { return family.param; });

}  // namespace
}  // namespace scorenet::test
