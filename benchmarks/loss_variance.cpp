// Variance of each estimator of the diffusion term of the bound: what a time density or a
// schedule is worth.
//
//     ./build/benchmarks/loss_variance_benchmark [batches]        (400: a few seconds)
//
// Data: a mixture in 16 dimensions with known score, its model wrong by a factor 1.05. One x0, one
// t and one eps a draw; every row estimates the same number, which is checked first against the
// quadrature of its own schedule (4 standard errors).
#include <torch/optim/adam.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "framework/core/random.hpp"
#include "framework/diffusion/gaussian_mixture.hpp"
#include "framework/diffusion/learned_schedule.hpp"
#include "framework/diffusion/likelihood/diffusion_term.hpp"
#include "framework/diffusion/loss.hpp"
#include "framework/diffusion/loss_history.hpp"
#include "framework/diffusion/preconditioning.hpp"
#include "framework/diffusion/time_sampler.hpp"
#include "models/make_model.hpp"
#include "models/score_network.hpp"

namespace {

using namespace scorenet;
using namespace scorenet::diffusion;

constexpr int64_t kBatch = 64;
constexpr int64_t kDims = 16;

// Each step's losses, (kBatch) float64: a function of the step alone.
using Estimator = std::function<torch::Tensor(uint64_t step)>;

std::shared_ptr<const GaussianMixture> make_law() {
  const auto means =
      normal_for_slots({1, RandomStream::synthetic_data, 0}, {0, 1}, {kDims}, torch::kFloat64);
  const auto spread = torch::logspace(-2, 0, kDims, 10, torch::kFloat64);
  const auto covariance = torch::diag(spread).expand({2, kDims, kDims});
  return std::make_shared<GaussianMixture>(torch::tensor({0.4, 0.6}, torch::kFloat64), 0.5 * means,
                                           covariance);
}

struct Draw {
  torch::Tensor x0, eps;
};
Draw draw(const GaussianMixture& law, uint64_t step) {
  const auto slots = slot_range(static_cast<int64_t>(step) * kBatch, kBatch);
  return {
      law.sample({2, RandomStream::synthetic_data, 0}, slots),
      normal_for_slots({2, RandomStream::training_noise, step}, slots, {kDims}, torch::kFloat64)};
}

torch::Tensor loss_at(const Denoiser& denoiser, const Schedule& schedule, const TimeSample& times,
                      const Draw& d) {
  const auto weight = -0.5 * schedule.d_log_snr(times.t) * times.inverse_density;
  return weight * eps_error(denoiser, d.x0, d.eps, schedule.at(times.t));
}

void report(const std::string& name, int64_t batches, const Estimator& estimator, double reference,
            double reference_error) {
  torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> rows;
  for (int64_t i = 0; i < batches; ++i) rows.push_back(estimator(static_cast<uint64_t>(i)));
  const auto losses = torch::stack(rows);
  const auto means = losses.mean(1);
  const double mean = means.mean().item<double>();
  const double batch_deviation = means.std().item<double>();
  const double error = batch_deviation / std::sqrt(static_cast<double>(batches));
  std::printf("%-34s %10.4f %9.4f %12.4f %12.4f\n", name.c_str(), mean, error,
              losses.std().item<double>(), batch_deviation);
  if (std::abs(mean - reference) > 4 * std::hypot(error, reference_error)) {
    std::fprintf(stderr, "%s: mean %.5f, expected %.5f: not within 4 standard errors.\n",
                 name.c_str(), mean, reference);
    std::exit(1);
  }
}

// The number itself by many stratified draws of time for each of many x0, uniform in log-SNR.
std::pair<double, double> reference_value(const Denoiser& denoiser, const Schedule& schedule,
                                          const GaussianMixture& law) {
  const auto slots = slot_range(1'000'000, 4096);
  const auto x0 = law.sample({2, RandomStream::synthetic_data, 0}, slots);
  const auto nats = drawn_diffusion_term(denoiser, schedule, x0, slots, {3, 64}).nats;
  return {nats.mean().item<double>(), nats.std().item<double>() / 64.0};
}

std::shared_ptr<LearnedSchedule> trained_schedule(const Denoiser& denoiser,
                                                  const GaussianMixture& law) {
  auto net = std::make_shared<MonotoneGamma>(-13.3, 5.0, 128);
  auto schedule = std::make_shared<LearnedSchedule>(net, 0, 1);
  const Network network = [&](const torch::Tensor& x, const torch::Tensor& log_snr) {
    return denoiser(x, {torch::sigmoid(log_snr).sqrt(), torch::sigmoid(-log_snr).sqrt(), log_snr})
        .eps;
  };
  torch::optim::Adam optimiser(net->parameters(), torch::optim::AdamOptions(0.02));
  for (uint64_t step = 0; step < 400; ++step) {
    const auto d = draw(law, 100'000 + step);
    const auto u =
        stratified_positions({4, RandomStream::training_time, step}, slot_range(0, kBatch), kBatch);
    const ScheduleTap tap(*schedule, uniform_times(*schedule, u));
    const auto loss = tapped_loss_per_example(network, {Prediction::eps, 0.5}, tap, d.x0, d.eps);
    optimiser.zero_grad();
    loss.mean().backward();
    optimiser.step();
  }
  return schedule;
}

// A network and its schedule trained together, as a run with schedule = vdm_learned does.
struct Trained {
  std::shared_ptr<models::ScoreNetwork> network;
  std::shared_ptr<LearnedSchedule> schedule;
  Network callable() const {
    return [net = network](const torch::Tensor& x, const torch::Tensor& log_snr) {
      models::NetworkInput input;
      input.x = x.to(torch::kFloat32);
      input.log_snr = log_snr;
      return net->forward(input);
    };
  }
};

Trained train_together(const GaussianMixture& law, uint64_t steps) {
  models::ModelOptions options;
  options.type = "mlp";
  options.mlp.hidden = {64, 64};
  auto gamma = std::make_shared<MonotoneGamma>(-13.3, 5.0, 128);
  Trained trained{models::make_model(options, {kDims}),
                  std::make_shared<LearnedSchedule>(gamma, 0, 1)};
  auto parameters = trained.network->parameters();
  for (const auto& p : gamma->parameters()) parameters.push_back(p);
  torch::optim::Adam optimiser(parameters, torch::optim::AdamOptions(3e-3));
  for (uint64_t step = 0; step < steps; ++step) {
    const auto d = draw(law, 200'000 + step);
    const auto u =
        stratified_positions({4, RandomStream::training_time, step}, slot_range(0, kBatch), kBatch);
    const ScheduleTap tap(*trained.schedule, uniform_times(*trained.schedule, u));
    const auto loss = tapped_loss_per_example(trained.callable(), {Prediction::v, 0.5}, tap,
                                              d.x0.to(torch::kFloat32), d.eps.to(torch::kFloat32));
    optimiser.zero_grad();
    (loss.mean() / static_cast<double>(kDims)).backward();
    optimiser.step();
  }
  return trained;
}

Estimator steps_by_history(const Denoiser& denoiser, const Schedule& schedule,
                           const GaussianMixture& law, int64_t steps) {
  auto history = std::make_shared<LossHistory>(make_loss_history(steps));
  return [&, history, steps](uint64_t step) {
    const auto d = draw(law, step);
    const auto u =
        stratified_positions({5, RandomStream::training_time, step}, slot_range(0, kBatch), kBatch);
    const auto sample = draw_steps(*history, u);
    const auto grid = step_times(schedule, steps);
    const auto chain = reverse_step(grid, sample.step);
    const auto loss = static_cast<double>(steps) * step_weight({}, schedule, chain) *
                      eps_error(denoiser, d.x0, d.eps, schedule.at(chain.t));
    record_losses(*history, sample.step, loss);
    return sample.weight * loss;
  };
}

// What there is to know of a run: a schedule, and the value that its draws should have in the mean.
struct Case {
  std::string name;
  const Denoiser& denoiser;
  const Schedule& schedule;
  std::pair<double, double> value;  // and its error
};

void report_times(const Case& c, const std::string& rule, const GaussianMixture& law,
                  int64_t batches) {
  const auto loss = [&](uint64_t step) {
    const RandomKey key{6, RandomStream::training_time, step};
    const auto times = draw_times(rule, c.schedule, key, slot_range(0, kBatch), kBatch);
    return loss_at(c.denoiser, c.schedule, times, draw(law, step));
  };
  report(c.name + ", " + rule, batches, loss, c.value.first, c.value.second);
}

std::shared_ptr<const Schedule> schedule_of(const std::string& name) {
  ScheduleOptions options;
  options.name = name;
  return make_schedule(options);
}

void report_schedules(const Denoiser& denoiser, const GaussianMixture& law, int64_t batches) {
  for (const char* name : {"vp_linear", "vp_cosine", "vdm_linear", "edm"}) {
    const auto schedule = schedule_of(name);
    const Case c{name, denoiser, *schedule, reference_value(denoiser, *schedule, law)};
    for (const std::string& rule : time_sampling_names()) report_times(c, rule, law, batches);
  }
  const auto learned = trained_schedule(denoiser, law);
  report_times(
      {"vdm_learned (400 steps)", denoiser, *learned, reference_value(denoiser, *learned, law)},
      "stratified", law, batches);
}

// The same network under the straight line and under the schedule it was trained with: one bound,
// two variances.
void report_trained_together(const GaussianMixture& law, int64_t batches) {
  const Trained together = train_together(law, 1500);
  const auto own = make_denoiser(together.callable(), {Prediction::v, 0.5});
  const auto linear = schedule_of("vdm_linear");
  const auto bound = reference_value(own, *linear, law);
  report_times({"net, vdm_linear", own, *linear, bound}, "stratified", law, batches);
  report_times({"net, its vdm_learned", own, *together.schedule, bound}, "stratified", law,
               batches);
}

void report_second_moment(const Denoiser& denoiser, const GaussianMixture& law, int64_t batches) {
  const auto schedule = schedule_of("vp_linear");
  const auto slots = slot_range(1'000'000, 4096);
  const auto x0 = law.sample({2, RandomStream::synthetic_data, 0}, slots);
  const auto nats = drawn_stepwise_term(denoiser, *schedule, 100, x0, slots, {3, 100}).nats;
  report("vp_linear, T = 100, second moment", batches,
         steps_by_history(denoiser, *schedule, law, 100), nats.mean().item<double>(),
         nats.std().item<double>() / 64.0);
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t batches = argc > 1 ? std::atol(argv[1]) : 400;
  const auto law = make_law();
  const auto denoiser = make_mixture_denoiser(law, {1.05, {}, {}});
  std::printf("diffusion term, %ld dimensions, batch %ld, %ld batches\n", static_cast<long>(kDims),
              static_cast<long>(kBatch), static_cast<long>(batches));
  std::printf("%-34s %10s %9s %12s %12s\n", "schedule, times", "nats", "+-", "sd of a draw",
              "sd of a batch");
  report_schedules(denoiser, *law, batches);
  report_trained_together(*law, batches);
  report_second_moment(denoiser, *law, batches);
  return 0;
}
