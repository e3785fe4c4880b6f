// A periodic Gaussian field of known spectrum: the law that the weather twin's file holds of
// itself, and the evaluators against it in the file's units.
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <fstream>
#include <limits>

#include "tests/launch/evaluate_case.hpp"

namespace scorenet::test {
namespace {

constexpr int64_t kSide = 32, kDims = kSide * kSide;

// -log p of fields (n, H, W) of mean zero: modes of the orthonormal Fourier transform are
// independent but for F(-k) = conj F(k), and |F|^2 is spectrum times chi^2 of two degrees / 2.
torch::Tensor field_nats(const torch::Tensor& fields, const torch::Tensor& spectrum) {
  const auto power =
      at::fft_fft2(fields, at::OptionalIntArrayRef(), {-2, -1}, "ortho").abs().square();
  return 0.5 * (power / spectrum + (2 * std::numbers::pi * spectrum).log()).sum({-2, -1});
}

class GaussianField : public testing::Test {
 protected:
  void synthesize(const std::string& options) const {
    const Outcome made =
        run("SCORENET data synthesize --kind weather --seed 5 --out " + twin() + " " + options);
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  std::string twin() const { return folder_ / "twin.h5"; }
  torch::Tensor of_twin(const std::string& name) const { return read_array(twin(), name); }

  void evaluate(const std::string& options) const {
    const Outcome outcome =
        run("OMP_NUM_THREADS=1 SCORENET evaluate --config " + (folder_ / "model.toml") +
            " --split all --json " + (folder_ / "out.json") + " --per-example " +
            (folder_ / "out.h5") + " --force " + options);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  torch::Tensor values(const std::string& name) const {
    return read_array(folder_ / "out.h5", "/" + name);
  }
  nlohmann::json metric(const std::string& name) const {
    return nlohmann::json::parse(text_of(folder_ / "out.json"))["metrics"][name];
  }

  // Two trajectories of two times, stored as (trajectory, lat, time, lon) with a column too many at
  // either side, of exp(2 + 0.7 f) - 0.5.
  torch::Tensor write_energies(const torch::Tensor& f) const {
    const auto x = (2 + 0.7 * f).exp() - 0.5;
    const auto stored = torch::full({2, kSide, 2, kSide + 2},
                                    std::numeric_limits<double>::quiet_NaN(), torch::kFloat64);
    stored.slice(3, 1, kSide + 1).copy_(x.view({2, 2, kSide, kSide}).permute({0, 2, 1, 3}));
    auto file = data::Hdf5File::create(folder_ / "energies.h5");
    file.write_array("/t0_fields/energy", stored);
    file.close();
    return x;
  }

  Folder folder_;
};

TEST_F(GaussianField, OfAThousandDimensionsHasItsExactLikelihoodThroughMapAndTransforms) {
  synthesize("--samples 4 --shape 1,32,32");
  const auto spectrum = of_twin("spectrum");
  const auto f = ((of_twin("fields") - of_twin("means")) / of_twin("deviations")).squeeze(1);
  const auto x = write_energies(f);
  auto law = data::Hdf5File::create(folder_ / "law.h5");
  law.write_array("/means", torch::zeros({1}, torch::kFloat64));
  law.write_array("/deviations", torch::ones({1}, torch::kFloat64));
  law.write_array("/spectrum", spectrum);
  law.close();
  const auto configure = [&](const std::string& log_snr_range) {
    std::ofstream(folder_ / "model.toml")
        << "[model]\ntype = \"gaussian_mixture\"\nfile = \"" << folder_ / "law.h5"
        << "\"\n[diffusion]\nschedule = \"vdm_linear\"\n"
        << log_snr_range << "\n[data]\npath = \"" << folder_ / "energies.h5"
        << "\"\narrays = [\"t0_fields/energy\"]\nsample_axes = [0, 2]\nchannel_axis = \"none\"\n"
        << "window = [\":\", \":\", \":\", \"1:33\"]\n"
        << "transforms = [\"log(0.5)\", \"affine(2, 0.7)\"]\n";
  };
  // f = (log(x + 0.5) - 2) / 0.7
  const auto exact =
      field_nats(f, spectrum) + (x + 0.5).log().sum({-2, -1}) + kDims * std::log(0.7);
  const auto expect_exact = [&](const std::string& name, double nats_per_dim) {
    const double found = values(name)[0].item<double>(), expected = exact[0].item<double>();
    EXPECT_NEAR(found / kDims, expected / kDims, nats_per_dim) << name;
    if (std::getenv("SCORENET_SHOW_ERRORS"))
      printf("%s: %.2e nats/dim of %.4f\n", name.c_str(), (found - expected) / kDims,
             expected / kDims);
  };
  // The bound loses sigma^2 / variance at the clean end, and at the noisy end what is left of x.
  configure("gamma_min = -12.0\ngamma_max = 8.0");
  evaluate("--n 1 --exact --metrics elbo");
  expect_exact("elbo", 1e-4);
  EXPECT_EQ(metric("elbo")["kind"], "bound");
  evaluate("--n 1 --exact-trace --steps 24 --metrics ode");
  expect_exact("ode", 1e-4);
  // An equality on any range.
  configure("gamma_min = -4.0\ngamma_max = 4.0");
  evaluate("--n 1 --exact --metrics mcallester");
  expect_exact("mcallester", 1e-8);
  EXPECT_EQ(metric("mcallester")["kind"], "exact");
}

TEST_F(GaussianField, ATwinsFileIsItsOwnModel) {
  synthesize("--samples 3 --shape 2,6,5");
  std::ofstream(folder_ / "model.toml")
      << "[model]\ntype = \"gaussian_mixture\"\nfile = \"" << twin()
      << "\"\n[diffusion]\nschedule = \"ve\"\n[data]\npath = \"" << twin()
      << "\"\narrays = [\"fields\"]\n";
  const auto means = of_twin("means").view({-1, 1, 1});
  const auto deviations = of_twin("deviations").view({-1, 1, 1});
  const auto expected = (field_nats((of_twin("fields") - means) / deviations, of_twin("spectrum")) +
                         30 * of_twin("deviations").log())
                            .sum(1);
  evaluate("--exact --metrics mcallester");
  expect_equal(values("mcallester"), expected, 1e-6, "mcallester");
  // Its samples have the means of their channels.
  const Outcome drawn =
      run("OMP_NUM_THREADS=1 SCORENET sample --config " + (folder_ / "model.toml") +
          " --seeds 0-3 --steps 5 --save-h5 --outdir " + (folder_ / "samples"));
  ASSERT_EQ(drawn.exit_code, 0) << drawn.err;
}

}  // namespace
}  // namespace scorenet::test
