#include "framework/train/mixture_file.hpp"

#include "framework/core/error.hpp"
#include "framework/core/finite.hpp"
#include "framework/data/hdf5.hpp"

namespace scorenet::train {
namespace {

// `values` as a float64 tensor of `shape`, undefined for an empty list.
torch::Tensor optional_values(const std::vector<double>& values, const std::vector<int64_t>& shape,
                              const char* key) {
  if (values.empty()) return {};
  const int64_t wanted = c10::multiply_integers(shape);
  if (static_cast<int64_t>(values.size()) != wanted) {
    throw ConfigError(std::string(key) + " has " + std::to_string(values.size()) +
                      " numbers, the mixture needs " + std::to_string(wanted) +
                      ". Give that many, or none.");
  }
  return torch::tensor(values, torch::kFloat64).view(shape);
}

}  // namespace

std::shared_ptr<const diffusion::GaussianMixture> read_mixture(const std::string& path) {
  const data::Hdf5File file = data::Hdf5File::open(path);
  const auto array = [&](const char* name) {
    const data::Hdf5Array stored = file.array(name);
    const auto values = stored.read_all(torch::kFloat64);
    check_finite(values, stored.where());
    return values;
  };
  try {
    return std::make_shared<diffusion::GaussianMixture>(array("weights"), array("means"),
                                                        array("covariances"));
  } catch (const ShapeError& e) {
    throw DataError(path + ": " + e.what());
  } catch (const DataError& e) {
    const std::string text = e.what();
    throw DataError(text.find(path) == std::string::npos ? path + ": " + text : text);
  }
}

diffusion::ScoreErrors score_errors(const config::ModelConfig& config, int64_t dims) {
  diffusion::ScoreErrors errors;
  errors.score_scale = config.score_scale;
  errors.linear = optional_values(config.score_linear, {dims, dims}, "model.score_linear");
  errors.offset = optional_values(config.score_offset, {dims}, "model.score_offset");
  return errors;
}

}  // namespace scorenet::train
