#include "models/make_model.hpp"

#include "framework/core/check.hpp"
#include "models/dit.hpp"
#include "models/initialise.hpp"
#include "models/mlp.hpp"
#include "models/unet.hpp"

namespace scorenet::models {
namespace {

ShapeError wrong_shape(const char* type, c10::IntArrayRef shape, const char* expected) {
  return ShapeError(std::string("model.type = \"") + type + "\": examples of shape " +
                    shape_string(shape) + ", expected " + expected +
                    ". Choose another model.type or data set.");
}

// Behind the channel.
c10::IntArrayRef axes_of(const char* type, c10::IntArrayRef shape) {
  if (shape.size() < 2 || shape.size() > 4)
    throw wrong_shape(type, shape, "(C, L), (C, H, W) or (C, D, H, W)");
  return shape.slice(1);
}

std::shared_ptr<ScoreNetwork> make_unet(const ModelOptions& options, c10::IntArrayRef shape) {
  const c10::IntArrayRef sizes = axes_of("unet", shape);
  const auto axes = static_cast<int64_t>(sizes.size());
  auto network = std::make_shared<UNetImpl>(options.unet, shape[0], axes);
  check_rings(boundaries_of(options.unet.padding, axes), sizes,
              int64_t{1} << (options.unet.channels.size() - 1), "each level halves it");
  initialise_weights(*network, options.seed, WeightLaw::xavier_uniform,
                     {"conv2.weight", "to_out.0.weight", "conv_out.weight"});
  return network;
}

std::shared_ptr<ScoreNetwork> make_mlp(const ModelOptions& options, c10::IntArrayRef shape) {
  if (shape.size() != 1) throw wrong_shape("mlp", shape, "(D)");
  auto network = std::make_shared<MLPImpl>(options.mlp, shape[0]);
  initialise_weights(*network, options.seed, WeightLaw::lecun_normal, {});
  return network;
}

std::shared_ptr<ScoreNetwork> make_dit(const ModelOptions& options, c10::IntArrayRef shape) {
  const c10::IntArrayRef sizes = axes_of("dit", shape);
  const auto axes = static_cast<int64_t>(sizes.size());
  auto network = std::make_shared<DiTImpl>(options.dit, shape[0], axes);
  check_rings(boundaries_of(options.dit.padding, axes), sizes, options.dit.patch_size,
              "model.patch_size");
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
