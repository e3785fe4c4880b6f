#include "framework/evaluate/reference_file.hpp"

#include <torch/utils.h>

#include <charconv>
#include <filesystem>

#include "framework/core/check.hpp"
#include "framework/core/error.hpp"
#include "framework/data/hdf5.hpp"
#include "framework/files/output_guard.hpp"

namespace scorenet::evaluate {
namespace {

constexpr const char* kPixels = "pixels";

void check_ending(const std::string& path) {
  const std::string ending = std::filesystem::path(path).extension().string();
  if (ending != ".npz" && ending != ".pkl") return;
  throw ConfigError("--reference " + path + ": is " +
                    (ending == ".npz" ? "a NumPy archive" : "a Python pickle") +
                    ", and moments are read from HDF5. Convert it: python3 "
                    "launch/export_inception.py reference " +
                    path + " OUT.h5.");
}

torch::Tensor array_of(const data::Hdf5File& file, const std::string& name,
                       const std::string& edms) {
  for (const std::string& each : {name, edms})
    if (file.has("/" + each)) return file.array("/" + each).read_all(torch::kFloat64);
  throw DataError("--reference " + file.path() + ": has no data set /" + name +
                  ", expected mean (D) and covariance (D, D). Make one with --save-reference.");
}

void check_moments(const metrics::Moments& m, const std::string& path) {
  const int64_t dims = m.mean.dim() == 1 ? m.mean.size(0) : -1;
  if (dims < 1 || m.covariance.sizes() != c10::IntArrayRef{dims, dims}) {
    throw DataError("--reference " + path + ": mean of shape " + shape_string(m.mean.sizes()) +
                    " and covariance of shape " + shape_string(m.covariance.sizes()) +
                    ", expected (D) and (D, D). Make one with --save-reference.");
  }
  const bool finite = torch::isfinite(m.mean).all().item<bool>() &&
                      torch::isfinite(m.covariance).all().item<bool>();
  const double largest = m.covariance.abs().max().item<double>();
  const bool symmetric = finite && (m.covariance - m.covariance.t()).abs().max().item<double>() <=
                                       1e-6 * largest + 1e-30;
  if (finite && symmetric) return;
  throw DataError("--reference " + path + ": its covariance is not " +
                  (finite ? "symmetric" : "finite, or its mean is not") +
                  ". The file is damaged or holds something else: make it again.");
}

int64_t count_of(const data::Hdf5File& file) {
  if (const auto number = file.number_attribute("/", "n")) return static_cast<int64_t>(*number);
  const std::string text = file.attribute("/", "n").value_or("0");
  int64_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

}  // namespace

Reference read_reference(const std::string& path) {
  check_ending(path);
  const data::Hdf5File file = data::Hdf5File::open(path);
  Reference reference;
  reference.moments = {array_of(file, "mean", "mu"), array_of(file, "covariance", "sigma"),
                       count_of(file)};
  check_moments(reference.moments, path);
  reference.extractor = file.attribute("/", "extractor").value_or("");
  reference.digest = file.attribute("/", "extractor_digest").value_or("");
  return reference;
}

void check_extractor(const Reference& reference, const std::string& path,
                     const FeatureExtractor& extractor) {
  const bool one_of_pixels = !reference.extractor.empty() &&
                             (reference.extractor == kPixels) != (extractor.name == kPixels);
  const bool other_file = !reference.digest.empty() && !extractor.digest.empty() &&
                          reference.digest != extractor.digest;
  if (!one_of_pixels && !other_file) return;
  throw ConfigError("--reference " + path + ": moments of the features of " + reference.extractor +
                    ", but --features is " + extractor.name +
                    ", a different file. Give that extractor, or make a reference with this one "
                    "by --save-reference.");
}

void write_reference(const std::string& path, const Reference& reference) {
  files::ReplacingFile whole(path);
  data::Hdf5File file = data::Hdf5File::create(whole.path().string());
  file.write_array("/mean", reference.moments.mean);
  file.write_array("/covariance", reference.moments.covariance);
  file.set_attribute("/", "n", std::to_string(reference.moments.n));
  file.set_attribute("/", "extractor", reference.extractor);
  if (!reference.digest.empty()) file.set_attribute("/", "extractor_digest", reference.digest);
  file.close();
  whole.commit();
}

}  // namespace scorenet::evaluate
