#include "framework/data/image_dataset.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "framework/core/check.hpp"
#include "framework/core/pixels.hpp"

namespace scorenet::data {
namespace {

// Above it no label can number a class; a uint64 that no int64 holds arrives as the largest int64.
constexpr int64_t kGreatestLabel = (int64_t{1} << 31) - 1;

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

// Groups that hold `images`; a link that leads nowhere is none.
std::vector<std::string> whole_splits_of(const Hdf5File& file) {
  std::vector<std::string> splits;
  for (const auto& name : file.children("/")) {
    if (file.is_group("/" + name) && file.has("/" + name + "/images")) splits.push_back(name);
  }
  return splits;
}

Hdf5Array images_of(const Hdf5File& file, const std::string& split) {
  const std::string name = "/" + split + "/images";
  if (file.has(name)) return file.array(name);
  if (const std::string link = file.broken_link(name); !link.empty()) {
    throw DataError(file.path() + ": no dataset \"" + name + "\", since " + link +
                    ". Put back what it leads to.");
  }
  throw DataError(file.path() + ": no dataset \"" + name + "\"; splits found: " +
                  joined(whole_splits_of(file)) + ". Name one of these as the split.");
}

// A plain loop: on the loader's thread a parallel one would wake a second team of OpenMP threads.
template <typename Wrong>
int64_t first_wrong(const torch::Tensor& values, const Wrong& wrong) {
  const auto find = [&](const auto* begin) {
    return std::find_if(begin, begin + values.numel(), wrong) - begin;
  };
  if (values.scalar_type() == torch::kUInt8) return find(values.const_data_ptr<uint8_t>());
  return values.scalar_type() == torch::kFloat64 ? find(values.const_data_ptr<double>())
                                                 : find(values.const_data_ptr<float>());
}

}  // namespace

std::vector<std::string> splits_of(const Hdf5File& file) {
  for (const auto& name : file.children("/")) {
    const std::string link = file.broken_link("/" + name + "/images");
    if (link.empty()) continue;
    throw DataError(file.path() + ": " + link + ". Put back what it leads to, or remove the link.");
  }
  return whole_splits_of(file);
}

ImageDataset::ImageDataset(const std::string& path, const std::string& split,
                           const DatasetOptions& options)
    : path_(path), split_(split), asked_levels_(options.levels), missing_(options.missing) {
  const Hdf5File file = Hdf5File::open(path);
  Hdf5Array images = images_of(file, split);
  info_ = images.info();
  check_images();
  example_shape_.assign(info_.shape.begin() + 1, info_.shape.end());
  const std::string labels = "/" + split + "/labels";
  if (options.labels && (file.has(labels) || !file.broken_link(labels).empty()))
    labels_ = read_labels(file);
  reader_ = make_row_reader(std::move(images), options.cached_blocks);
}

void ImageDataset::check_images() const {
  const std::string found = path_ + ", dataset \"/" + split_ + "/images\": type " +
                            info_.type_name + ", shape " + shape_string(info_.shape);
  const bool bytes = info_.dtype == torch::kUInt8;
  if (!bytes && info_.dtype != torch::kFloat32 && info_.dtype != torch::kFloat64) {
    throw DataError(found +
                    "; expected uint8, float32 or float64. Convert the data to one of these.");
  }
  if (bytes && asked_levels_ < 0 && info_.shape.size() != 4) {
    throw DataError(found +
                    "; expected (N, C, H, W) for uint8. Store a channel axis, for example "
                    "(50000, 1, 32, 32). Bytes of other shapes need data.levels.");
  }
  if (info_.shape.size() < 2) {
    throw DataError(found +
                    "; expected (N, ...) with at least one axis besides the samples. Store "
                    "single numbers as (N, 1).");
  }
  for (const int64_t size : info_.shape) {
    if (size == 0) throw DataError(found + "; expected at least one sample of at least one value.");
  }
}

torch::Tensor ImageDataset::read_labels(const Hdf5File& file) const {
  const Hdf5Array array = file.array("/" + split_ + "/labels");
  const auto& info = array.info();
  if (info.shape != std::vector<int64_t>{size()}) {
    throw DataError(array.where() + ": shape " + shape_string(info.shape) + ", expected (" +
                    std::to_string(size()) + "), one label for each image.");
  }
  if (info.type_name.find("int") == std::string::npos) {
    throw DataError(array.where() + ": type " + info.type_name + ", expected integers.");
  }
  torch::Tensor labels = array.read_all(torch::kInt64);
  if (const auto least = labels.min().item<int64_t>(); least < 0) {
    throw DataError(array.where() + ": label " + std::to_string(least) + " at index " +
                    std::to_string(labels.argmin().item<int64_t>()) +
                    ", expected labels >= 0. Number the classes from 0.");
  }
  if (const auto greatest = labels.max().item<int64_t>(); greatest > kGreatestLabel) {
    throw DataError(array.where() + ": label " + std::to_string(greatest) + " or above at index " +
                    std::to_string(labels.argmax().item<int64_t>()) + ", expected labels below " +
                    std::to_string(kGreatestLabel + 1) + ". Number the classes from 0.");
  }
  return labels;
}

int64_t ImageDataset::dims() const {
  return std::accumulate(example_shape_.begin(), example_shape_.end(), int64_t{1},
                         std::multiplies<>());
}

int64_t ImageDataset::levels() const {
  if (asked_levels_ >= 0) return asked_levels_;
  return dtype() == torch::kUInt8 ? kPixelLevels : 0;
}

std::string ImageDataset::where() const { return path_ + ", dataset \"/" + split_ + "/images\""; }

torch::Tensor ImageDataset::present(const torch::Tensor& examples) const {
  if (!missing_) return examples;
  if (std::isnan(*missing_)) return examples.masked_select(examples.isnan().logical_not());
  const auto mark = torch::scalar_tensor(*missing_, examples.scalar_type());
  return examples.masked_select(examples.ne(mark));
}

int64_t ImageDataset::num_classes() const {
  return has_labels() ? labels_.max().item<int64_t>() + 1 : 0;
}

void ImageDataset::check_labels(int64_t num_classes) const {
  const std::string where = path_ + ", dataset \"/" + split_ + "/labels\": ";
  if (!has_labels()) {
    throw DataError(where + "missing or not read, but " + std::to_string(num_classes) +
                    " classes are asked for. Add labels, or set model.num_classes = 0.");
  }
  const auto bad = labels_.ge(num_classes).nonzero();
  if (bad.size(0) == 0) return;
  const int64_t index = bad[0][0].item<int64_t>();
  throw DataError(where + "label " + std::to_string(labels_[index].item<int64_t>()) + " at index " +
                  std::to_string(index) + ", expected labels below " + std::to_string(num_classes) +
                  ". Set model.num_classes = " + std::to_string(this->num_classes()) + ".");
}

Batch ImageDataset::read(const std::vector<int64_t>& indices) {
  for (const int64_t index : indices) {
    if (index >= 0 && index < size()) continue;
    throw DataError(path_ + ", split " + split_ + ": sample " + std::to_string(index) +
                    " asked for, expected 0 to " + std::to_string(size() - 1) + ".");
  }
  Batch batch{reader_->read(indices), {}, indices};
  if (has_labels()) {
    batch.labels = torch::empty({static_cast<int64_t>(indices.size())}, torch::kInt64);
    const int64_t* all = labels_.const_data_ptr<int64_t>();
    std::transform(indices.begin(), indices.end(), batch.labels.data_ptr<int64_t>(),
                   [all](int64_t index) { return all[index]; });
  }
  check_values(batch);
  return batch;
}

void ImageDataset::check_values(const Batch& batch) const {
  const bool nan_is_missing = missing_ && std::isnan(*missing_);
  const auto most = static_cast<double>(levels() - 1);
  int64_t place = batch.examples.numel();
  if (kind() == DataKind::continuous && dtype() != torch::kUInt8) {
    place = first_wrong(batch.examples, [&](double value) {
      return !std::isfinite(value) && !(nan_is_missing && std::isnan(value));
    });
  } else if (kind() == DataKind::discrete && !(dtype() == torch::kUInt8 && most >= 255)) {
    place = first_wrong(batch.examples, [&](double value) {
      return !(value >= 0 && value <= most && value == std::floor(value));
    });
  }
  if (place == batch.examples.numel()) return;
  const std::string sample =
      where() + ": sample " + std::to_string(batch.indices[static_cast<size_t>(place / dims())]);
  if (kind() == DataKind::discrete) {
    throw DataError(sample + " holds a value that is none of the levels 0 to " +
                    std::to_string(levels() - 1) +
                    ". Set data.levels to their number, or to 0 for "
                    "continuous data.");
  }
  throw DataError(sample +
                  " holds a NaN or an infinity, expected finite values. Remove or repair "
                  "it; where NaN marks missing values, set data.missing = \"nan\".");
}

}  // namespace scorenet::data
