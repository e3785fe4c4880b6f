#include "models/make_model.hpp"

#include "framework/core/check.hpp"
#include "models/dit.hpp"
#include "models/initialise.hpp"
#include "models/mlp.hpp"
#include "models/unet.hpp"

namespace scorenet::models {
namespace {

void check_dims(const char* type, c10::IntArrayRef shape, size_t dims, const char* expected) {
  if (shape.size() == dims) return;
  throw ShapeError(std::string("model.type = \"") + type + "\": examples of shape " +
                   shape_string(shape) + ", expected " + expected +
                   ". Choose another model.type or data set.");
}

std::shared_ptr<ScoreNetwork> make_unet(const ModelOptions& options, c10::IntArrayRef shape) {
  check_dims("unet", shape, 3, "(C, H, W)");
  auto network = std::make_shared<UNetImpl>(options.unet, shape[0]);
  initialise_weights(*network, options.seed, WeightLaw::xavier_uniform,
                     {"conv2.weight", "to_out.0.weight", "conv_out.weight"});
  return network;
}

std::shared_ptr<ScoreNetwork> make_mlp(const ModelOptions& options, c10::IntArrayRef shape) {
  check_dims("mlp", shape, 1, "(D)");
  auto network = std::make_shared<MLPImpl>(options.mlp, shape[0]);
  initialise_weights(*network, options.seed, WeightLaw::lecun_normal, {});
  return network;
}

std::shared_ptr<ScoreNetwork> make_dit(const ModelOptions& options, c10::IntArrayRef shape) {
  check_dims("dit", shape, 3, "(C, H, W)");
  auto network = std::make_shared<DiTImpl>(options.dit, shape[0]);
  initialise_weights(*network, options.seed, WeightLaw::xavier_uniform,
                     {"modulation.weight", "final.weight"});
  return network;
}

struct Entry {
  const char* name;
  std::shared_ptr<ScoreNetwork> (*make)(const ModelOptions&, c10::IntArrayRef);
};
constexpr Entry kNetworks[] = {{"unet", make_unet}, {"dit", make_dit}, {"mlp", make_mlp}};

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kNetworks) names.emplace_back(entry.name);
  return names;
}

std::shared_ptr<ScoreNetwork> make_model(const ModelOptions& options,
                                         c10::IntArrayRef example_shape) {
  std::string known;
  for (const Entry& entry : kNetworks) {
    if (options.type == entry.name) return entry.make(options, example_shape);
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw ConfigError("model.type = \"" + options.type + "\": unknown. Trainable networks are " +
                    known + ".");
}

}  // namespace scorenet::models
