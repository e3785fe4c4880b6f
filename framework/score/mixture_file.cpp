#include "framework/score/mixture_file.hpp"

#include "framework/core/check.hpp"
#include "framework/core/finite.hpp"
#include "framework/data/hdf5.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::score {
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

// Its shape is held against the file's size first: gzip packs at most 1032 bytes into one.
torch::Tensor read_array(const data::Hdf5File& file, const char* name) {
  constexpr double kMostPacked = 1032;
  const data::Hdf5Array array = file.array(name);
  double bytes = sizeof(double);
  for (const int64_t size : array.info().shape) bytes *= static_cast<double>(size);
  if (bytes > kMostPacked * static_cast<double>(files::regular_file_size(file.path()))) {
    throw DataError(array.where() + ": shape " + shape_string(array.info().shape) +
                    " cannot be in a file of this size. The file is cut short or damaged.");
  }
  const torch::Tensor values = array.read_all(torch::kFloat64);
  check_finite(values, array.where());
  return values;
}

data::Hdf5File open_mixture(const std::string& path) {
  try {
    files::require_regular_file(path);
  } catch (const files::FileError& error) {
    throw DataError(error.what());
  }
  return data::Hdf5File::open(path);
}

// The law that the weather twin's file holds of itself.
std::shared_ptr<const diffusion::GaussianMixture> field_of(const data::Hdf5File& file) {
  const torch::Tensor means = read_array(file, "means"),
                      deviations = read_array(file, "deviations");
  const torch::Tensor spectrum = read_array(file, "spectrum");
  if (means.dim() != 1 || !deviations.sizes().equals(means.sizes())) {
    throw ShapeError("means " + shape_string(means.sizes()) + ", deviations " +
                     shape_string(deviations.sizes()) + "; expected (C) and (C).");
  }
  std::vector<int64_t> channels(static_cast<size_t>(spectrum.dim()) + 1, 1);
  channels[0] = -1;
  const auto spectra = deviations.square().view(channels) * spectrum;
  return std::make_shared<diffusion::GaussianMixture>(
      diffusion::GaussianMixture::field(means, spectra));
}

}  // namespace

std::shared_ptr<const diffusion::GaussianMixture> read_mixture(const std::string& path) {
  const data::Hdf5File file = open_mixture(path);
  const auto array = [&](const char* name) { return read_array(file, name); };
  try {
    if (file.has("/spectrum")) return field_of(file);
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

}  // namespace scorenet::score
