// Exact maps there and back over the whole range of log-SNR, for schedules that keep variance and
// that do not.
#include "framework/diffusion/parametrisation.hpp"

#include "framework/diffusion/preconditioning.hpp"
#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using test::doubles;
using test::expect_close;
using test::expect_error;
using test::schedule_named;
using test::times_over_range;

constexpr Prediction kAll[] = {Prediction::x0, Prediction::eps, Prediction::v, Prediction::score,
                               Prediction::F};

torch::Tensor draws(uint64_t seed, int64_t batch, torch::Dtype dtype = torch::kFloat64) {
  return normal_for_slots({seed, RandomStream::synthetic_data, 0}, slot_range(0, batch), {2, 3},
                          dtype);
}

TEST(Parametrisation, TheExactPredictionGivesBackDataAndNoiseEverywhere) {
  for (const std::string& name : schedule_names()) {
    const auto schedule = schedule_named(name);
    const NoiseLevel level = schedule->at(times_over_range(*schedule, 33));
    const auto x0 = draws(1, 33), eps = draws(2, 33);
    const auto x_t = add_noise(x0, eps, level);
    for (const Prediction prediction : kAll) {
      const Parametrisation p{prediction, 0.5};
      const Denoised back = denoised_from(p, target_from(p, x0, eps, level), x_t, level);
      // In the noise of x_t's rounding, x0 is known to eps_machine max(1, sigma / alpha), eps
      // to its inverse.
      const auto ratio = (level.sigma / level.alpha).view({33, 1, 1});
      const auto x0_error = (back.x0 - x0).abs() / (1 + ratio);
      const auto eps_error = (back.eps - eps).abs() / (1 + 1 / ratio);
      EXPECT_LT(x0_error.max().item<double>(), 1e-14) << name << " " << name_of(prediction);
      EXPECT_LT(eps_error.max().item<double>(), 1e-14) << name << " " << name_of(prediction);
    }
  }
}

TEST(Parametrisation, vAndFGiveBothEstimatesAtFullPrecisionInFloat32) {
  // v = 0 at x_t = x0 alpha: near the data the x0 of v must not divide by sigma, nor eps by alpha
  // near the noise.
  const auto schedule = schedule_named("vdm_linear");
  for (const Prediction prediction : {Prediction::v, Prediction::F}) {
    const Parametrisation p{prediction, 1.0};
    for (const double t : {0.0, 1.0}) {
      const NoiseLevel level = schedule->at(t, 8);
      const auto x0 = draws(3, 8, torch::kFloat32), eps = draws(4, 8, torch::kFloat32);
      const Denoised back =
          denoised_from(p, target_from(p, x0, eps, level), add_noise(x0, eps, level), level);
      expect_close(back.x0, x0, 1e-6);
      expect_close(back.eps, eps, 1e-6);
    }
  }
}

TEST(Parametrisation, vIsTheKnownCombinationAndWithUnitDataFIsItsNegative) {
  const NoiseLevel level = schedule_named("vp_cosine")->at(0.3, 4);
  const auto x0 = draws(5, 4), eps = draws(6, 4);
  const auto a = level.alpha.view({4, 1, 1}), s = level.sigma.view({4, 1, 1});
  const auto v = target_from({Prediction::v, 0.5}, x0, eps, level);
  expect_close(v, a * eps - s * x0, 1e-15);
  expect_close(target_from({Prediction::F, 1.0}, x0, eps, level), -v, 1e-15);
  expect_close(target_from({Prediction::score, 0.5}, x0, eps, level), -eps / s, 1e-15);
}

TEST(Parametrisation, FIsTheNetworkOfEdmsTable1) {
  // sigma' = 3, sigma_data = 0.5, y = x0 + sigma' eps: c_skip = 0.25 / 9.25,
  // c_out = 1.5 / sqrt(9.25); F = (x0 - c_skip y) / c_out.
  const NoiseLevel level = schedule_named("edm")->at(3.0, 4);
  const auto x0 = draws(7, 4), eps = draws(8, 4);
  const auto y = x0 + 3 * eps;
  const double c_skip = 0.25 / 9.25, c_out = 1.5 / std::sqrt(9.25);
  expect_close(target_from({Prediction::F, 0.5}, x0, eps, level), (x0 - c_skip * y) / c_out, 1e-14);
  EXPECT_NEAR(input_scale({Prediction::F, 0.5}, level)[0].item<double>(), 1 / std::sqrt(9.25),
              1e-15);
}

TEST(Parametrisation, ErrorsConvertByTheStatedRatio) {
  // A wrong prediction p + d changes eps_hat by d times a number whose square is eps_error_ratio.
  for (const char* name : {"subvp", "ve", "flow", "vp_linear"}) {
    const NoiseLevel level = schedule_named(name)->at(0.4, 4);
    const auto x0 = draws(9, 4), eps = draws(10, 4), d = 0.1 * draws(11, 4);
    const auto x_t = add_noise(x0, eps, level);
    for (const Prediction prediction : kAll) {
      const Parametrisation p{prediction, 0.7};
      const auto wrong = denoised_from(p, target_from(p, x0, eps, level) + d, x_t, level);
      const auto eps_error = (wrong.eps - eps).square().flatten(1).sum(1);
      const auto own_error = d.square().flatten(1).sum(1);
      expect_close(eps_error / own_error / eps_error_ratio(p, level),
                   torch::ones({4}, torch::kFloat64), 1e-9,
                   std::string(name) + " " + name_of(prediction));
    }
  }
}

TEST(Preconditioning, TheNetworkSeesInputsOfOrderOneUnderEverySchedule) {
  for (const std::string& name : schedule_names()) {
    const auto schedule = schedule_named(name);
    const NoiseLevel level = schedule->at(times_over_range(*schedule, 64));
    const auto x_t = add_noise(draws(12, 64), draws(13, 64), level);
    for (const Prediction prediction : kAll) {
      torch::Tensor seen;
      const Network network = [&](const torch::Tensor& x, const torch::Tensor& log_snr) {
        EXPECT_TRUE(torch::equal(log_snr, level.log_snr));
        seen = x;
        return torch::zeros_like(x);
      };
      make_denoiser(network, {prediction, 1.0})(x_t, level);
      // Unit data and unit noise: variance 1 a number; six numbers an example, 64 examples.
      EXPECT_NEAR(seen.square().mean().item<double>(), 1, 4 * std::sqrt(2.0 / double(seen.numel())))
          << name;
    }
  }
}

TEST(Preconditioning, ADenoiserSaysWhatItsNetworkMeans) {
  const NoiseLevel level = schedule_named("vdm_linear")->at(0.5, 4);
  const auto x0 = draws(14, 4, torch::kFloat32), eps = draws(15, 4, torch::kFloat32);
  // A bfloat16 network under float32 data: the estimate comes back in float32.
  const Network network = [&](const torch::Tensor&, const torch::Tensor&) {
    return eps.to(torch::kBFloat16);
  };
  const Denoised estimate =
      make_denoiser(network, {Prediction::eps, 0.5})(add_noise(x0, eps, level), level);
  EXPECT_EQ(estimate.eps.scalar_type(), torch::kFloat32);
  EXPECT_EQ(estimate.x0.scalar_type(), torch::kFloat32);
  expect_close(estimate.eps, eps, 1.0 / 256);  // bfloat16 has 8 bits
}

TEST(Parametrisation, ErrorsNameTheOffendingValue) {
  expect_error<ConfigError>([] { prediction_from_name("noise"); },
                            "\"noise\": expected one of x0 eps v score F");
  for (const Prediction p : kAll) EXPECT_EQ(prediction_from_name(name_of(p)), p);
  const NoiseLevel level = schedule_named("ve")->at(0.5, 2);
  expect_error<ShapeError>(
      [&] { denoised_from({}, torch::zeros({2, 3}), torch::zeros({2, 4}), level); }, "(2, 3)");
  expect_error<ShapeError>([&] { add_noise(torch::zeros({2, 3}), torch::zeros({2, 4}), level); },
                           "(2, 4)");
  expect_error<ShapeError>(
      [&] { target_from({}, torch::zeros({2, 3}), torch::zeros({2, 4}), level); }, "(2, 4)");
  expect_error<ShapeError>([&] { add_noise(torch::zeros({3, 3}), torch::zeros({3, 3}), level); },
                           "(3, 3)");
}

}  // namespace
}  // namespace scorenet::diffusion
