#include "framework/evaluate/generate.hpp"

#include <torch/utils.h>

#include <memory>
#include <mutex>
#include <optional>

#include "framework/core/error.hpp"
#include "framework/core/pixels.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/guidance.hpp"
#include "framework/evaluate/rows_over_ranks.hpp"
#include "framework/score/classifier.hpp"
#include "framework/score/numbered_steps.hpp"
#include "framework/score/told_conditions.hpp"

namespace scorenet::evaluate {
namespace {

struct Asked {
  const GuidanceOptions& guidance;
  const data::Range& samples;
  const data::ConditionValues& values;
};

// A network that was never trained without its conditions has no score without them.
void check_told(const score::ScoreModel& model, const data::ConditionValues& values) {
  const double dropped = model.config.diffusion.label_drop;
  for (const data::ConditionMap& condition : model.config.conditions) {
    if (values.contains(condition.name) || (values.empty() && dropped > 0)) continue;
    throw ConfigError(model.name + ": needs the condition " + condition.name +
                      (dropped > 0
                           ? ", but only other conditions are given"
                           : ", since it was never trained without it (diffusion.label_drop = 0)") +
                      ". Give --condition FILE or --condition." + condition.name + " VALUES.");
  }
}

// The classes of the samples: (B) int64, or undefined for none.
torch::Tensor labels_of(const Asked& asked) {
  const auto labels = dealt_labels(asked.guidance.labels, asked.samples);
  return labels.empty() ? torch::Tensor() : torch::tensor(labels, torch::kInt64);
}

// What a model is told of the samples; labels: undefined for none.
models::Conditions told(const score::ScoreModel& model, const Asked& asked,
                        const torch::Tensor& labels) {
  if (model.is_analytic()) return {};
  check_told(model, asked.values);
  const int64_t count = asked.samples.size();
  const models::Conditions nothing = score::told_nothing(model, count);
  models::Conditions given;
  if (!asked.values.empty()) {
    given = score::told_conditions(
        model, asked.values, {asked.guidance.told.where, slot_range(asked.samples.begin, count)});
  }
  given.labels = labels.defined() ? labels : nothing.labels;
  return given;
}

int64_t classes_of(const score::ScoreModel& model, const GuidanceOptions& guidance) {
  const score::ScoreModel& asked = guidance.classifier ? *guidance.classifier : model;
  return asked.is_analytic() ? 0 : asked.config.model.num_classes;
}

void check_guidance(const score::ScoreModel& model, const GuidanceOptions& guidance) {
  if (guidance.classifier && guidance.weak) {
    throw ConfigError(
        "--classifier with --weak-network: two rules of guidance. Choose one of them.");
  }
  if (guidance.classifier) {
    score::check_guides(*guidance.classifier, model, guidance.labels, model.example_shape,
                        {guidance.log_snr_min, guidance.log_snr_max});
    return;
  }
  const int64_t classes = classes_of(model, guidance);
  for (const int64_t label : guidance.labels) {
    if (label >= 0 && label < classes) continue;
    throw ConfigError(
        "--class " + std::to_string(label) + ": the model knows " + std::to_string(classes) +
        " classes" +
        (classes ? ", 0 to " + std::to_string(classes - 1) + "." : "; leave --class out."));
  }
  if (guidance.labels.empty() && guidance.weight != 1.0 && !guidance.weak && !guidance.told.read) {
    throw ConfigError("--guidance " + std::to_string(guidance.weight) +
                      ": needs --class or conditions (classifier-free, or with --classifier) or "
                      "--weak-network (autoguidance).");
  }
}

// `guided` within the interval of log-SNR, if there is one.
diffusion::Denoiser within_interval(const diffusion::Denoiser& guided,
                                    const diffusion::Denoiser& plain,
                                    const GuidanceOptions& guidance) {
  if (guidance.log_snr_min <= -1e300 && guidance.log_snr_max >= 1e300) return guided;
  return diffusion::guidance_interval(guided, plain, guidance.log_snr_min, guidance.log_snr_max);
}

}  // namespace

ToldSamples told_as(data::ImageDataset& dataset) {
  const auto reading = std::make_shared<std::mutex>();
  return {[&dataset, reading](int64_t first, int64_t count) {
            std::vector<int64_t> rows = slot_range(first, count);
            for (int64_t& row : rows) row %= dataset.size();
            const std::lock_guard lock(*reading);
            return dataset.read_conditions(rows);
          },
          [&dataset](const std::string& name) { return dataset.condition_where(name); }};
}

ToldSamples told_from(const ToldSamples& told, int64_t first) {
  if (!told.read) return told;
  return {
      [read = told.read, first](int64_t from, int64_t count) { return read(first + from, count); },
      told.where};
}

std::vector<int64_t> dealt_labels(const std::vector<int64_t>& labels, const data::Range& samples) {
  std::vector<int64_t> dealt;
  if (labels.empty()) return dealt;
  const auto turn = static_cast<int64_t>(labels.size());
  for (int64_t i = samples.begin; i < samples.end; ++i)
    dealt.push_back(labels[static_cast<size_t>(i % turn)]);
  return dealt;
}

// Step 0 of the stream is the sample's start.
std::vector<int64_t> labels_by_seed(const std::vector<int64_t>& seeds, int64_t classes) {
  const RandomKey key{0, RandomStream::sampler_start, 1};
  const auto u = uniform_for_slots(key, seeds, {}, torch::kFloat64);
  const auto labels = (u * static_cast<double>(classes)).floor().to(torch::kInt64);
  return {labels.data_ptr<int64_t>(), labels.data_ptr<int64_t>() + labels.numel()};
}

GuidanceOptions with_labels(const score::ScoreModel& model, const GuidanceOptions& guidance,
                            const std::vector<int64_t>& seeds) {
  if (!guidance.random_labels) return guidance;
  const int64_t classes = classes_of(model, guidance);
  if (classes < 1) {
    throw ConfigError(
        "--class random: the model knows no classes. Leave --class out, or give a --classifier.");
  }
  GuidanceOptions drawn = guidance;
  drawn.labels = labels_by_seed(seeds, classes);
  return drawn;
}

data::ConditionValues divided_by(const score::ScoreModel& model, const ToldSamples& told,
                                 int64_t first, int64_t count) {
  if (!model.transforms.needs_conditions()) return {};
  return told.values(first, count);
}

diffusion::Denoiser guided_denoiser(const score::ScoreModel& model, const GuidanceOptions& guidance,
                                    const data::Range& samples) {
  check_guidance(model, guidance);
  const data::ConditionValues values = guidance.told.values(samples.begin, samples.size());
  const Asked asked{guidance, samples, values};
  if (guidance.classifier) {
    // The network is told all but the class: that is the classifier's part.
    const auto plain = score::denoiser_for(model, told(model, asked, {}));
    const auto gradient = score::class_gradient_for(*guidance.classifier, labels_of(asked),
                                                    told(*guidance.classifier, asked, {}));
    return within_interval(diffusion::classifier_guidance(plain, gradient, guidance.weight), plain,
                           guidance);
  }
  const diffusion::Denoiser plain =
      score::denoiser_for(model, told(model, asked, labels_of(asked)));
  if (guidance.weight == 1.0) return plain;
  const diffusion::Denoiser guided =
      guidance.weak
          ? diffusion::autoguidance(
                plain,
                score::denoiser_for(*guidance.weak, told(*guidance.weak, asked, labels_of(asked))),
                guidance.weight)
          : diffusion::classifier_free_guidance(
                score::denoiser_for(model, score::told_nothing(model, samples.size())), plain,
                guidance.weight);
  return within_interval(guided, plain, guidance);
}

Generated generate(const score::ScoreModel& model, c10::IntArrayRef example_shape,
                   const std::vector<int64_t>& seeds, const diffusion::SamplerOptions& sampler,
                   const GuidanceOptions& asked, int64_t batch, comm::Communicator& comm) {
  const torch::NoGradGuard no_grad;
  const GuidanceOptions guidance = with_labels(model, asked, seeds);
  check_guidance(model, guidance);
  std::optional<diffusion::TrainedSteps> trained;
  if (sampler.spacing == diffusion::kTrainedSteps) trained = score::trained_steps_of(model);
  const std::vector<int64_t> shape(example_shape.begin(), example_shape.end());
  const auto dims = static_cast<int64_t>(c10::multiply_integers(shape));
  const auto n = static_cast<int64_t>(seeds.size());
  // A row is a sample, its evaluation count and the path's times and states, if they are wanted.
  const int64_t points = sampler.keep_path ? sampler.steps + 1 : 0;
  const int64_t width = dims + 1 + points * (dims + 1);
  diffusion::SamplerOptions told = sampler;
  told.whole_batch = !guidance.labels.empty() || guidance.told.read ||
                     (!model.is_analytic() && score::told_nothing(model, 1).any());
  const auto rows = rows_over_ranks(comm, n, {width}, batch, [&](int64_t first, int64_t count) {
    const std::vector<int64_t> part(seeds.begin() + first, seeds.begin() + first + count);
    const auto denoiser = guided_denoiser(model, guidance, {first, first + count});
    const auto start = diffusion::draw_start(*model.schedule, part, shape, 0, model.device);
    const auto noise = diffusion::make_slot_noise(part, shape, 0, model.device);
    const auto result =
        trained ? diffusion::sample_trained_steps(denoiser, *trained, sampler, start, noise)
                : diffusion::sample(denoiser, *model.schedule, told, start, noise);
    std::vector<torch::Tensor> columns = {result.x.reshape({count, dims}).to(torch::kCPU),
                                          torch::full({count, 1}, result.nfe, torch::kFloat64)};
    if (points > 0) {
      columns.push_back(result.path_t.expand({count, points}));
      columns.push_back(result.path.reshape({count, points * dims}).to(torch::kCPU));
    }
    return torch::cat(columns, 1);
  });
  std::vector<int64_t> full{n};
  full.insert(full.end(), shape.begin(), shape.end());
  Generated generated{rows.narrow(1, 0, dims).reshape(full),
                      n ? rows.select(1, dims).mean().item<double>() : 0};
  if (points == 0 || n == 0) return generated;
  full.insert(full.begin() + 1, points);
  generated.path_t = rows[0].narrow(0, dims + 1, points).clone();
  generated.path = rows.narrow(1, dims + 1 + points, points * dims).reshape(full);
  return generated;
}

std::string default_final(c10::IntArrayRef example_shape) {
  return example_shape.size() > 1 ? "denoised" : "state";  // grids; points
}

// DDIM's last step leads to the data itself, or as near to it as its scheduler says.
std::string usual_final(const diffusion::SamplerOptions& sampler, c10::IntArrayRef example_shape) {
  return sampler.spacing == diffusion::kTrainedSteps ? "state" : default_final(example_shape);
}

torch::Tensor as_stored(const torch::Tensor& x, int64_t levels) {
  return levels > 0 ? data_from_pixels(levels_from_data(x, levels), x.scalar_type(), levels) : x;
}

NotFinite samples_not_finite(const torch::Tensor& x, const std::vector<int64_t>& seeds) {
  const auto bad = torch::isfinite(x).logical_not().reshape({x.size(0), -1}).any(1);
  const int64_t count = bad.sum().item<int64_t>();
  if (count == 0) return {};
  const auto first = static_cast<size_t>(bad.nonzero()[0][0].item<int64_t>());
  return {count == x.size(0),
          "sampling: " + std::to_string(count) + " of " + std::to_string(x.size(0)) +
              " samples are not finite, first seed " + std::to_string(seeds.at(first)) +
              ". Use more --steps, another --sampler, or a smaller --guidance or --hbar; or an "
              "earlier snapshot, if training diverged."};
}

}  // namespace scorenet::evaluate
