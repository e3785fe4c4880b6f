#include "framework/evaluate/feature_extractor.hpp"

#include <torch/csrc/jit/serialization/import.h>
#include <torch/utils.h>

#include <memory>

#include "framework/core/check.hpp"
#include "framework/core/digest.hpp"
#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/regular_file.hpp"
#include "framework/score/classifier.hpp"
#include "framework/score/snapshot.hpp"

namespace scorenet::evaluate {
namespace {

torch::Tensor flat(const torch::Tensor& features) {
  return features.to(torch::kCPU, torch::kFloat64).flatten(1);
}

std::string digest_of_file(const std::string& path) {
  const std::string bytes = files::read_file(path);
  return digest(bytes.data(), bytes.size());
}

FeatureExtractor pixels() {
  return {"pixels", "", [](const torch::Tensor& x) { return flat(x); }};
}

// A module may be of examples of another shape, or of anything: whatever it throws is its own.
torch::IValue result_of(torch::jit::Module& module, const torch::Tensor& x,
                        const std::string& path) {
  try {
    return module.forward({x});
  } catch (const std::exception& error) {
    const std::string reason = error.what();
    throw ShapeError(path + ": cannot be run on examples of shape " + shape_string(x.sizes()) +
                     " (" + reason.substr(0, reason.find('\n')) +
                     "). Give a module that takes such examples.");
  }
}

FeatureExtractor torch_script(const std::string& path, torch::Device device) {
  const auto module = std::make_shared<torch::jit::Module>();
  try {
    files::require_regular_file(path);
  } catch (const files::FileError& error) {
    throw CheckpointError(error.what());
  }
  try {
    *module = torch::jit::load(path, device);
  } catch (const std::exception& error) {  // LibTorch's parser lets several types through
    const std::string reason = error.what();
    throw CheckpointError(path + ": cannot be read as a TorchScript module (" +
                          reason.substr(0, reason.find('\n')) +
                          "). Export one with torch.jit.trace(...).save(FILE).");
  }
  module->eval();
  return {path, digest_of_file(path), [module, path, device](const torch::Tensor& x) {
            const auto value = result_of(*module, x.to(device, torch::kFloat32), path);
            if (value.isTensor() && value.toTensor().dim() >= 2 &&
                value.toTensor().size(0) == x.size(0))
              return flat(value.toTensor());
            throw ShapeError(path +
                             ": returned something else than one row of features for each of " +
                             std::to_string(x.size(0)) + " examples.");
          }};
}

// In the file's units, x is as data; the classifier has its own transforms.
torch::Tensor own_values(const score::ScoreModel& classifier, const torch::Tensor& x) {
  if (classifier.transforms.is_plain()) return x.to(torch::kFloat32);
  const auto indices = slot_range(0, x.size(0));
  return classifier.transforms.forward(x, {classifier.name + ", examples", indices})
      .x.to(torch::kFloat32);
}

FeatureExtractor classifier(const std::string& path, c10::IntArrayRef example_shape,
                            torch::Device device) {
  const auto snapshot = std::make_shared<score::LoadedSnapshot>(score::load_snapshot(path, device));
  score::check_is_classifier(snapshot->model);
  if (c10::IntArrayRef(snapshot->example_shape) != example_shape) {
    throw ShapeError("--features " + path + ": a classifier of examples of shape " +
                     shape_string(snapshot->example_shape) + ", but the data has " +
                     shape_string(example_shape) + ". Give one that was trained on such data.");
  }
  return {path, digest_of_file(path), [snapshot](const torch::Tensor& x) {
            return flat(classifier_features(snapshot->model, own_values(snapshot->model, x)));
          }};
}

}  // namespace

FeatureExtractor make_feature_extractor(const std::string& name, c10::IntArrayRef example_shape,
                                        torch::Device device) {
  if (name == "pixels") return pixels();
  if (name.ends_with(".safetensors")) return classifier(name, example_shape, device);
  if (name.ends_with(".pt")) return torch_script(name, device);
  throw ConfigError("--features " + name +
                    ": expected pixels, a classifier's snapshot (FILE.safetensors) or a "
                    "TorchScript module (FILE.pt).");
}

}  // namespace scorenet::evaluate
