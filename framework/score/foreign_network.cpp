#include "framework/score/foreign_network.hpp"

#include <torch/csrc/autograd/autograd.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>

#include "framework/core/check.hpp"
#include "framework/core/digest.hpp"
#include "framework/core/finite.hpp"
#include "framework/core/random.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/regular_file.hpp"
#include "framework/score/score_model.hpp"
#include "framework/score/told_conditions.hpp"

namespace scorenet::score {

using torch::Tensor;

models::ThirdInput third_input(const config::Config& config) {
  if (config.model.num_classes > 0) return models::ThirdInput::label;
  const models::ConditionSizes sizes = condition_sizes(config);
  if (sizes.numbers > 0) return models::ThirdInput::numbers;
  return sizes.channels > 0 ? models::ThirdInput::fields : models::ThirdInput::none;
}

diffusion::Convention convention_of(const config::Config& config) {
  return {config.model.convention, config.model.numbered, config.diffusion.schedule,
          config.diffusion.sigma_data};
}

ForeignNetwork::ForeignNetwork(const config::Config& config, const std::string& archive,
                               const std::string& where, torch::Device device)
    : TorchScriptNetwork(archive, where, third_input(config), device),
      convention_(convention_of(config)),
      prediction_(diffusion::prediction_from_name(config.diffusion.prediction)),
      wants_variance_(parametrisation(config.diffusion).learned_variance),
      classes_(config.model.num_classes),
      numbers_(condition_sizes(config).numbers),
      channels_(condition_sizes(config).channels) {}

namespace {

// What is told of one example holds for all copies of it, which exact traces make.
models::Conditions for_rows(const models::Conditions& given, int64_t rows) {
  return given.mapped([rows](const Tensor& told) {
    if (told.size(0) == rows) return told;
    if (told.size(0) == 1) {
      std::vector<int64_t> shape = told.sizes().vec();
      shape[0] = rows;
      return told.expand(shape);
    }
    throw ShapeError("a TorchScript network is told something of " + std::to_string(told.size(0)) +
                     " examples, but evaluated at " + std::to_string(rows) +
                     " places: exact traces copy the examples. Give --batch 1, or leave "
                     "--exact-trace and --exact out.");
  });
}

}  // namespace

// Labels are told as their number, where none is told as num_classes; or as a row of zeros with
// one 1, which is then all zeros. Conditions that are not told are zeros.
Tensor ForeignNetwork::third_of(const Tensor& x, const models::Conditions& all) const {
  const models::Conditions given = for_rows(all, x.size(0));
  if (classes_ > 0) {
    const Tensor labels = given.labels.defined() ? given.labels.to(x.device())
                                                 : torch::full({x.size(0)}, classes_,
                                                               x.options().dtype(torch::kInt64));
    if (!convention_.one_hot()) return labels;
    return torch::one_hot(labels, classes_ + 1).narrow(1, 0, classes_).to(x.scalar_type());
  }
  if (numbers_ + channels_ == 0) return {};
  Tensor told = numbers_ > 0 ? given.numbers : given.fields;
  if (!told.defined()) {
    std::vector<int64_t> shape = x.sizes().vec();
    shape[1] = channels_;
    return numbers_ > 0 ? torch::zeros({x.size(0), numbers_}, x.options())
                        : torch::zeros(shape, x.options());
  }
  told = told.to(x.options());
  return given.told.defined() ? told * broadcast_to_batch(given.told.to(x.options()), told) : told;
}

Tensor ForeignNetwork::answer(const diffusion::Convention& convention, const Tensor& x,
                              const Tensor& log_snr, const models::Conditions& given,
                              Tensor* variance) {
  const Tensor l = log_snr.to(x.device(), torch::kFloat64);
  const Tensor scale = broadcast_to_batch(convention.input_scale(l).to(x.options()), x);
  Tensor output = call(scale * x, convention.level(l), third_of(x, given));
  std::vector<int64_t> expected = x.sizes().vec();
  if (convention.learned_variance()) expected[1] *= 2;
  if (output.sizes() != c10::IntArrayRef(expected)) {
    throw ShapeError(where() + ": forward returns shape " + shape_string(output.sizes()) +
                     " for x of shape " + shape_string(x.sizes()) + ", expected " +
                     shape_string(expected) + " (model.variance = " + convention.words().variance +
                     "). Give data of the shape that it was made for, or another "
                     "model.convention.");
  }
  if (!convention.learned_variance()) return output;
  const auto parts = output.chunk(2, 1);
  if (variance) *variance = parts[1];
  return parts[0];
}

Tensor ForeignNetwork::forward(const models::NetworkInput& input) {
  const Tensor l = input.log_snr.to(input.x.device(), torch::kFloat64);
  // EDM's preconditioning hands over x in EDM's scale, the others x of unit power.
  Tensor x = input.x;
  if (prediction_ == diffusion::Prediction::F) {
    const double k = convention_.sigma_data();
    const Tensor unit = (torch::sigmoid(-l) + k * k * torch::sigmoid(l)).sqrt();
    x = broadcast_to_batch(unit.to(x.options()), x) * x;
  }
  Tensor variance;
  const Tensor output = answer(convention_, x, l, input.given, &variance);
  const Tensor prediction = convention_.as(prediction_, output, x, l);
  return wants_variance_ ? torch::cat({prediction, variance}, 1) : prediction;
}

diffusion::Denoised ForeignNetwork::denoised_by(const diffusion::Convention& convention,
                                                const Tensor& x, const Tensor& log_snr,
                                                const models::Conditions& given) {
  const Tensor l = log_snr.to(x.device(), torch::kFloat64);
  return convention.denoised(answer(convention, x, l, given, nullptr), x, l);
}

std::string ForeignNetwork::changed_by_training(const Tensor& x, const models::Conditions& given) {
  const Tensor l = torch::zeros({x.size(0)}, x.options().dtype(torch::kFloat64));
  return buffer_that_training_changes(x, convention_.level(l), third_of(x, given));
}

Tensor ForeignNetwork::raw_answer(const Tensor& x) {
  const Tensor l = torch::full({x.size(0)}, 0.3, x.options().dtype(torch::kFloat64));
  return call(x, convention_.level(l), third_of(x, {}));
}

std::string read_network_file(config::Config& config) {
  const std::string& path = config.model.file;
  const std::string where = "model.file = " + path;
  std::string bytes;
  try {
    files::require_regular_file(path);
    bytes = files::read_file(path);
  } catch (const Error& error) {
    throw CheckpointError(where + ": cannot be read (" + files::unreadable_because(path) +
                          "). Give the TorchScript file of the network.");
  }
  const std::string found = digest(bytes.data(), bytes.size());
  std::string& known = config.model.convention.file_digest;
  if (known.empty()) known = found;
  if (known == found) return bytes;
  throw CheckpointError(where + ": has the digest " + found + ", expected " + known +
                        " by model.file_digest. Give the file that it belongs to, or leave "
                        "model.file_digest out to take this one.");
}

namespace {

constexpr uint64_t kProbeSeed = 20261127;
// x of rows 0 .. batch - 1, each a function of its row alone.
Tensor probe(c10::IntArrayRef example_shape, int64_t batch, torch::Device device) {
  return normal_for_slots({kProbeSeed, RandomStream::initial_weights, 1}, slot_range(0, batch),
                          example_shape, torch::kFloat32)
      .to(device);
}

// Noise of x's shape, another for each stream.
Tensor direction(const Tensor& x, uint64_t stream) {
  return normal_for_slots({kProbeSeed, RandomStream::initial_weights, 2 + stream},
                          slot_range(0, x.size(0)), x.sizes().slice(1), torch::kFloat32)
      .to(x.options());
}

Tensor some_level(int64_t batch, torch::Device device) {
  return torch::full({batch}, 0.3, torch::TensorOptions(torch::kFloat64).device(device));
}

Tensor answer_to(ForeignNetwork& network, const Tensor& x) {
  return network.forward({x, some_level(x.size(0), x.device()), {}, nullptr});
}

// Rounding differs between batch sizes; another example's share does not stay within it.
bool agree(const Tensor& a, const Tensor& b) {
  const double scale = std::max(1.0, b.abs().max().item<double>());
  return (a - b).abs().max().item<double>() <= 1e-3 * scale;
}

void check_calls(ForeignNetwork& network, c10::IntArrayRef example_shape, torch::Device device) {
  const torch::NoGradGuard no_grad;
  const std::string& where = network.where();
  const Tensor x = probe(example_shape, 3, device);
  const Tensor three = answer_to(network, x);
  if (!three.isfinite().all().item<bool>()) {
    throw NotFiniteError(
        where +
        ": returns values that are not finite for ordinary noise. Export a network "
        "whose weights are, or another model.convention.");
  }
  if (!torch::equal(answer_to(network, x), three)) {
    throw ShapeError(where +
                     ": returns other values for the same input when called again, such as a "
                     "network that draws random numbers. Export it with module.eval().");
  }
  Tensor one;
  try {
    one = answer_to(network, x.narrow(0, 1, 1));
  } catch (const ShapeError& error) {
    throw ShapeError(where +
                     ": takes a batch of 3 examples but not of 1: it was traced for a batch of one "
                     "size. Export it with launch/export_network.py, which scripts it or traces it "
                     "for any.");
  }
  if (!agree(one, three.narrow(0, 1, 1))) {
    throw ShapeError(where +
                     ": returns something else for an example alone than for the same one among "
                     "others, such as a batch norm in training mode. Export it with "
                     "module.eval().");
  }
}

// <weight, f(x)>, where f is what the network returns.
double weighted_answer(ForeignNetwork& network, const Tensor& x, const Tensor& weight) {
  const torch::NoGradGuard no_grad;
  return (network.raw_answer(x).to(torch::kFloat64) * weight).sum().item<double>();
}

// Its slope along u by autograd; 0 where that sees no way from f to x.
double slope_by_autograd(ForeignNetwork& network, const Tensor& at, const Tensor& weight,
                         const Tensor& u) {
  const Tensor x = at.detach().requires_grad_(true);
  const Tensor answer = network.raw_answer(x);
  if (!answer.requires_grad()) return 0;
  const Tensor value = (answer.to(torch::kFloat64) * weight).sum();
  const Tensor slope = torch::autograd::grad({value}, {x}, {}, /*retain_graph=*/false,
                                             /*create_graph=*/false, /*allow_unused=*/true)[0];
  return slope.defined() ? (slope * u).sum().to(torch::kFloat64).item<double>() : 0;
}

// Whether autograd's slopes along some directions are those of central differences. Any of several
// lengths will do: a long one smooths over features of high frequency, a short one drowns in the
// rounding of a network that computes in half precision.
bool slopes_are_those_of_differences(ForeignNetwork& network, const Tensor& x) {
  constexpr uint64_t kDirections = 4;
  constexpr double kLargestDifference = 0.25;  // where a part is left out, it is of order 1
  const double lengths[] = {0.05, 0.01, 1e-3};
  double differences[3] = {}, slopes[3] = {}, size = 0;
  for (uint64_t k = 0; k < kDirections; ++k) {
    const Tensor u = direction(x, 2 * k);
    const Tensor weight = direction(network.raw_answer(x), 2 * k + 1).to(torch::kFloat64);
    const double by_autograd = slope_by_autograd(network, x, weight, u);
    size += std::pow(weighted_answer(network, x, weight), 2);
    for (int i = 0; i < 3; ++i) {
      const double h = lengths[i];
      const double slope = (weighted_answer(network, x + h * u, weight) -
                            weighted_answer(network, x - h * u, weight)) /
                           (2 * h);
      differences[i] += std::pow(slope - by_autograd, 2);
      slopes[i] += slope * slope;
    }
  }
  for (int i = 0; i < 3; ++i)
    if (std::sqrt(differences[i]) <=
        kLargestDifference * std::sqrt(slopes[i]) + 1e-2 * std::sqrt(size))
      return true;
  return false;
}

}  // namespace

std::shared_ptr<ForeignNetwork> make_foreign_network(const config::Config& config,
                                                     const std::string& archive,
                                                     c10::IntArrayRef example_shape,
                                                     torch::Device device) {
  const std::string where = "model.file = " + config.model.file;
  const auto network = std::make_shared<ForeignNetwork>(config, archive, where, device);
  check_calls(*network, example_shape, device);
  return network;
}

bool can_be_trained(ForeignNetwork& network, c10::IntArrayRef example_shape, torch::Device device) {
  const torch::AutoGradMode with_gradients(true);
  return network.raw_answer(probe(example_shape, 2, device)).requires_grad();
}

std::string no_derivative_because(ForeignNetwork& network, c10::IntArrayRef example_shape,
                                  torch::Device device, int order) {
  const torch::AutoGradMode with_gradients(true);
  const Tensor x = probe(example_shape, 2, device).requires_grad_(true);
  try {
    Tensor value = answer_to(network, x).square().sum();
    for (int i = 1; i <= order; ++i) {
      const auto derivative = torch::autograd::grad({value}, {x}, {}, /*retain_graph=*/true,
                                                    /*create_graph=*/i < order)[0];
      if (!derivative.isfinite().all().item<bool>()) return "it is not finite";
      if (i < order) value = derivative.square().sum();
    }
    if (!slopes_are_those_of_differences(network, x))
      return "autograd's derivative is not that of its values: a part of it is computed without "
             "gradients, as under torch.no_grad, by detach or in whole numbers";
    return "";
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    return text.substr(0, text.find('\n'));
  } catch (const std::exception& error) {
    const std::string text = error.what();
    return text.substr(0, text.find('\n'));
  }
}

}  // namespace scorenet::score
