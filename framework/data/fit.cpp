#include "framework/data/fit.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"

namespace scorenet::data {
namespace {

std::string name_of(DataKind kind, int64_t levels) {
  if (kind == DataKind::continuous) return "continuous data";
  return levels == kPixelLevels ? "8-bit data" : "data of " + std::to_string(levels) + " levels";
}

std::string where(const ImageDataset& dataset) { return dataset.where() + ": "; }

void check_shape(const ExpectedData& expected, const ImageDataset& dataset) {
  if (expected.example_shape.empty() || expected.example_shape == dataset.example_shape()) return;
  throw DataError(where(dataset) + "examples of shape " + shape_string(dataset.example_shape()) +
                  ", but " + expected.name + " has " + shape_string(expected.example_shape) +
                  ". Give data of that shape.");
}

void check_kind(const ExpectedData& expected, const ImageDataset& dataset) {
  const DataTraits& traits = expected.traits;
  if (!traits.kind) return;
  const bool discrete = *traits.kind == DataKind::discrete;
  if ((discrete ? traits.levels : 0) == dataset.levels()) return;
  throw DataError(where(dataset) + name_of(dataset.kind(), dataset.levels()) + " (" +
                  dataset.storage().type_name + "), but " + expected.name + " has " +
                  name_of(*traits.kind, traits.levels) +
                  (!discrete ? ". Store float32 or float64 in the same units."
                   : traits.levels == kPixelLevels
                       ? ". Store bytes from 0 to 255 as uint8."
                       : ". Store whole numbers below " + std::to_string(traits.levels) + "."));
}

// Values so far away that hardly a sample of the training data can be meant: counted, since a few
// outliers are no other unit.
class FarValues {
 public:
  explicit FarValues(const std::optional<ValueRange>& range) : range_(range) {}

  void count(const torch::Tensor& values) {
    if (values.numel() == 0) return;
    all_ += values.numel();
    const auto [least, greatest] = torch::aminmax(values);
    seen_.least = std::min(seen_.least, least.item<double>());
    seen_.greatest = std::max(seen_.greatest, greatest.item<double>());
    if (!range_ || width() == 0) return;
    const double middle = range_->least + width() / 2;
    far_ += (values.to(torch::kFloat64) - middle).abs().gt(kWidths * width()).sum().item<int64_t>();
  }

  void check(const ExpectedData& expected, const ImageDataset& dataset) const {
    if (2 * far_ <= all_) return;
    std::ostringstream text;
    text << where(dataset) << "values from " << seen_.least << " to " << seen_.greatest << ", but "
         << expected.name << " has values from " << range_->least << " to " << range_->greatest
         << ". Give the data in the same units.";
    throw DataError(text.str());
  }

 private:
  static constexpr double kWidths = 10;
  double width() const { return range_->greatest - range_->least; }

  std::optional<ValueRange> range_;
  ValueRange seen_{INFINITY, -INFINITY};
  int64_t all_ = 0, far_ = 0;
};

// Reading throws where a sample is damaged or not finite.
void check_values(const ExpectedData& expected, ImageDataset& dataset, int64_t n) {
  constexpr int64_t kRowsAtOnce = 1024;
  FarValues far(expected.traits.range);
  for (int64_t first = 0; first < n; first += kRowsAtOnce) {
    const auto batch = dataset.read(slot_range(first, std::min(kRowsAtOnce, n - first)));
    if (dataset.kind() == DataKind::continuous) far.count(dataset.present(batch.examples));
  }
  far.check(expected, dataset);
}

}  // namespace

DataTraits traits_of(const DatasetSummary& summary) {
  return {summary.kind, summary.range, summary.levels};
}

std::string to_text(const DataTraits& traits) {
  if (!traits.kind) return "";
  if (*traits.kind == DataKind::discrete)
    return "discrete" + (traits.levels == kPixelLevels ? "" : " " + std::to_string(traits.levels));
  std::ostringstream text;
  text.precision(17);
  text << "continuous";
  if (traits.range) text << ' ' << traits.range->least << ' ' << traits.range->greatest;
  return text.str();
}

DataTraits traits_from_text(const std::string& text) {
  std::istringstream in(text);
  std::string kind;
  in >> kind;
  if (kind == "discrete") {
    int64_t levels = 0;
    return {DataKind::discrete, {}, in >> levels && levels > 1 ? levels : kPixelLevels};
  }
  if (kind != "continuous") return {};
  ValueRange range;
  if (!(in >> range.least >> range.greatest) || range.least > range.greatest)
    return {DataKind::continuous, {}};
  return {DataKind::continuous, range};
}

void check_fit(const ExpectedData& expected, ImageDataset& dataset, int64_t n) {
  check_shape(expected, dataset);
  check_kind(expected, dataset);
  if (expected.num_classes > 0) dataset.check_labels(expected.num_classes);
  check_values(expected, dataset, n > 0 ? std::min(n, dataset.size()) : dataset.size());
}

void check_has_width(const ImageDataset& dataset) {
  const auto& shape = dataset.example_shape();
  if (shape.size() >= 3 && shape.back() > 1) return;
  throw ConfigError("data.flip = true: " + where(dataset) + "examples of shape " +
                    shape_string(shape) +
                    " have no width to mirror; expected (C, H, W). Set data.flip = false.");
}

}  // namespace scorenet::data
