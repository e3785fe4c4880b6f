#include "framework/data/image_dataset.hpp"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <numeric>
#include <set>
#include <sstream>

#include "framework/core/check.hpp"

namespace scorenet::data {
namespace {

constexpr int64_t kFingerprintSamples = 64;

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

Hdf5Array images_of(const Hdf5File& file, const std::string& split) {
  if (!file.has("/" + split + "/images")) {
    throw DataError(file.path() + ": no dataset \"/" + split + "/images\"; splits found: " +
                    joined(splits_of(file)) + ". Name one of these as the split.");
  }
  return file.array("/" + split + "/images");
}

std::string hex(const XXH128_hash_t& hash) {
  std::array<char, 33> text{};
  std::snprintf(text.data(), text.size(), "%016llx%016llx",
                static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text.data();
}

// A plain loop: on the loader's thread a parallel one would wake a second team of OpenMP threads.
template <typename T>
int64_t first_not_finite(const torch::Tensor& values) {
  const T* begin = values.const_data_ptr<T>();
  const T* end = begin + values.numel();
  return std::find_if(begin, end, [](T value) { return !std::isfinite(value); }) - begin;
}

}  // namespace

std::vector<std::string> splits_of(const Hdf5File& file) {
  std::vector<std::string> splits;
  for (const auto& name : file.children("/")) {
    if (file.is_group("/" + name) && file.has("/" + name + "/images")) splits.push_back(name);
  }
  return splits;
}

ImageDataset::ImageDataset(const std::string& path, const std::string& split,
                           const DatasetOptions& options)
    : path_(path), split_(split) {
  const Hdf5File file = Hdf5File::open(path);
  Hdf5Array images = images_of(file, split);
  info_ = images.info();
  check_images();
  example_shape_.assign(info_.shape.begin() + 1, info_.shape.end());
  if (options.labels && file.has("/" + split + "/labels")) labels_ = read_labels(file);
  reader_ = make_row_reader(path, std::move(images), options.cached_blocks);
}

void ImageDataset::check_images() const {
  const std::string found = path_ + ", dataset \"/" + split_ + "/images\": type " +
                            info_.type_name + ", shape " + shape_string(info_.shape);
  const bool discrete = info_.dtype == torch::kUInt8;
  if (!discrete && info_.dtype != torch::kFloat32 && info_.dtype != torch::kFloat64) {
    throw DataError(found +
                    "; expected uint8, float32 or float64. Convert the data to one of these.");
  }
  if (discrete && info_.shape.size() != 4) {
    throw DataError(found +
                    "; expected (N, C, H, W) for uint8. Store a channel axis, for example "
                    "(50000, 1, 32, 32).");
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
  return labels;
}

int64_t ImageDataset::dims() const {
  return std::accumulate(example_shape_.begin(), example_shape_.end(), int64_t{1},
                         std::multiplies<>());
}

DataKind ImageDataset::kind() const {
  return dtype() == torch::kUInt8 ? DataKind::discrete : DataKind::continuous;
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
  if (kind() == DataKind::continuous) check_finite(batch);
  return batch;
}

void ImageDataset::check_finite(const Batch& batch) const {
  const int64_t place = dtype() == torch::kFloat64 ? first_not_finite<double>(batch.examples)
                                                   : first_not_finite<float>(batch.examples);
  if (place == batch.examples.numel()) return;
  const auto index = batch.indices[static_cast<size_t>(place / dims())];
  throw DataError(path_ + ", dataset \"/" + split_ + "/images\": sample " + std::to_string(index) +
                  " holds a NaN or an infinity, expected finite values. Remove or repair it.");
}

std::string ImageDataset::fingerprint() {
  std::ostringstream header;
  header << info_.type_name << shape_string(info_.shape) << std::filesystem::file_size(path_);
  const std::string text = header.str();
  std::set<int64_t> spread;
  for (int64_t i = 0; i < kFingerprintSamples; ++i) {
    spread.insert(i * (size() - 1) / (kFingerprintSamples - 1));
  }
  const torch::Tensor samples = reader_->read({spread.begin(), spread.end()});
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  XXH3_128bits_reset(state.get());
  XXH3_128bits_update(state.get(), text.data(), text.size());
  XXH3_128bits_update(state.get(), samples.data_ptr(), samples.nbytes());
  if (has_labels()) XXH3_128bits_update(state.get(), labels_.data_ptr(), labels_.nbytes());
  return hex(XXH3_128bits_digest(state.get()));
}

}  // namespace scorenet::data
