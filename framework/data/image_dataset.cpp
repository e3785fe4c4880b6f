#include "framework/data/image_dataset.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "framework/core/check.hpp"
#include "framework/core/pixels.hpp"
#include "framework/data/array_view.hpp"
#include "framework/data/labels.hpp"
#include "framework/data/listing.hpp"
#include "framework/data/sample_arrays.hpp"

namespace scorenet::data {
namespace {

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

// Of this program's own layout: what is missing is most often the split.
void check_has_split(const Hdf5File& file, const std::string& split) {
  const std::string name = "/" + split + "/images";
  if (file.has(name)) return;
  if (const std::string link = file.broken_link(name); !link.empty()) {
    throw DataError(file.path() + ": no dataset \"" + name + "\", since " + link +
                    ". Put back what it leads to.");
  }
  throw DataError(file.path() + ": no dataset \"" + name + "\"; splits found: " +
                  joined(whole_splits_of(file)) + ". Name one of these as the split.");
}

DataMap own_layout(const std::string& path) {
  DataMap map;
  map.path = {path};
  return map;
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
    : ImageDataset(own_layout(path), split, options) {}

ImageDataset::ImageDataset(const DataMap& map, const std::string& split,
                           const DatasetOptions& options)
    : split_(split),
      labels_array_("/" + with_split(map.labels_array, split)),
      asked_levels_(options.levels),
      missing_(options.missing),
      on_one_rank_(options.on_one_rank) {
  if (on_one_rank_) {
    const auto look = [&] { return to_bytes(open(map, options)); };
    const std::string found = on_one_rank_(look);
    if (arrays_.empty()) take(listing_from_bytes(found), map, options);
  } else {
    open(map, options);
  }
}

SplitListing ImageDataset::open(const DataMap& map, const DatasetOptions& options) {
  SplitSource source = source_of(map, split_);
  source.history = history_of(options.conditions);
  name_files(source.files);
  // Kept open, its metadata is read once, however often it is opened below.
  std::optional<Hdf5File> first;
  if (!is_npy(source.files[0])) first = Hdf5File::open(source.files[0]);
  if (is_own_layout(map) && first) check_has_split(*first, split_);
  arrays_ = open_sample_arrays(map, source, options.cached_blocks);
  find_shape(map);
  if (is_own_layout(map)) check_images();
  if (options.labels) labels_ = read_labels(map, source, *arrays_[0]);
  open_conditions(map, source, options, {});
  SplitListing listing{source, {}, labels_, conditions_->listing()};
  for (const auto& array : arrays_) listing.arrays.push_back(array->listing());
  return listing;
}

// Uses what another rank found in the files.
void ImageDataset::take(SplitListing listing, const DataMap& map, const DatasetOptions& options) {
  SplitSource& source = listing.source;
  source.history = history_of(options.conditions);
  name_files(source.files);
  std::vector<int64_t> axes;
  for (size_t i = 0; i < map.arrays.size(); ++i) {
    const auto& shape = listing.arrays[i].files[0].storage.shape;
    axes.push_back(is_named(source, map.arrays[i]) ? static_cast<int64_t>(shape.size()) : 0);
  }
  const auto roles = roles_of_arrays(map, axes);
  for (size_t i = 0; i < map.arrays.size(); ++i)
    arrays_.push_back(std::make_shared<ArrayView>(
        source, map.arrays[i], roles[i], options.cached_blocks, std::move(listing.arrays[i])));
  find_shape(map);
  labels_ = listing.labels;
  open_conditions(map, source, options, listing.conditions);
}

void ImageDataset::open_conditions(const DataMap& map, const SplitSource& source,
                                   const DatasetOptions& options, const ConditionListing& found) {
  conditions_ = std::make_unique<ConditionReaders>(options.conditions, map, source, example_shape_,
                                                   arrays_, options.cached_blocks, found);
}

void ImageDataset::name_files(const std::vector<std::string>& files) {
  path_ = files[0];
  if (files.size() > 1) path_ += and_more_files(files.size() - 1);
}

ImageDataset::ImageDataset(ImageDataset&&) noexcept = default;
ImageDataset::~ImageDataset() = default;

const std::vector<std::string>& ImageDataset::files() const { return arrays_[0]->files(); }
std::string ImageDataset::where() const { return arrays_[0]->where(); }
int64_t ImageDataset::size() const { return arrays_[0]->size(); }
const Hdf5ArrayInfo& ImageDataset::storage() const { return arrays_[0]->storage(); }
int64_t ImageDataset::block_rows() const { return arrays_[0]->block_rows(); }

// Of an example, from those of its parts.
void ImageDataset::find_shape(const DataMap& map) {
  const ArrayView& first = *arrays_[0];
  example_shape_ = first.sample_shape();
  dtype_ = first.dtype();
  for (size_t i = 1; i < arrays_.size(); ++i) {
    const ArrayView& next = *arrays_[i];
    auto shape = next.sample_shape();
    const int64_t channels = shape[0];
    shape[0] = first.sample_shape()[0];
    if (shape != first.sample_shape() || next.size() != size()) {
      throw DataError(next.where() + ": " + std::to_string(next.size()) + " samples of shape " +
                      shape_string(next.sample_shape()) + ", but " + first.where() + " has " +
                      std::to_string(size()) + " of " + shape_string(first.sample_shape()) +
                      ". Stacked arrays may differ only in their channels.");
    }
    if (next.dtype() != dtype_ && (next.dtype() == torch::kUInt8 || dtype_ == torch::kUInt8)) {
      throw DataError(next.where() + ": type " + next.storage().type_name + ", but " +
                      first.where() + " has " + first.storage().type_name +
                      ". Stacked arrays must be all bytes, or all real numbers.");
    }
    if (next.dtype() != dtype_) dtype_ = torch::kFloat64;
    example_shape_[0] += channels;
  }
  if (map.reshape.empty()) return;
  const std::string found = shape_string(example_shape_);
  const int64_t all = dims();
  int64_t known = 1;
  for (const int64_t size : map.reshape)
    if (size > 0 && __builtin_mul_overflow(known, size, &known)) known = 0;
  example_shape_ = map.reshape;
  for (int64_t& size : example_shape_)
    if (size == -1 && known > 0) size = all / known;
  if (known > 0 && dims() == all) return;
  throw DataError(first.where() + ": samples of shape " + found + " have " + std::to_string(all) +
                  " values, but data.reshape = " + shape_string(map.reshape) +
                  " holds another number. Give a shape with as many values.");
}

// Bytes are images, and three axes of them leave open which one is missing.
void ImageDataset::check_images() const {
  if (dtype_ != torch::kUInt8 || asked_levels_ >= 0 || storage().shape.size() == 4) return;
  throw DataError(where() + ": type uint8, shape " + shape_string(storage().shape) +
                  "; expected (N, C, H, W) for uint8. Store a channel axis, for example "
                  "(50000, 1, 32, 32), or set data.channel_axis = \"none\" where there is none. "
                  "Bytes of other shapes need data.levels.");
}

int64_t ImageDataset::dims() const {
  return std::accumulate(example_shape_.begin(), example_shape_.end(), int64_t{1},
                         std::multiplies<>());
}

int64_t ImageDataset::levels() const {
  if (asked_levels_ >= 0) return asked_levels_;
  return dtype() == torch::kUInt8 ? kPixelLevels : 0;
}

torch::Tensor ImageDataset::present(const torch::Tensor& examples) const {
  if (!missing_) return examples;
  if (std::isnan(*missing_)) return examples.masked_select(examples.isnan().logical_not());
  const auto mark = torch::scalar_tensor(*missing_, examples.scalar_type());
  return examples.masked_select(examples.ne(mark));
}

int64_t ImageDataset::num_classes() const {
  return has_labels() ? labels_.max().item<int64_t>() + 1 : 0;
}

std::string ImageDataset::labels_where() const {
  return is_npy(labels_array_) ? labels_array_.substr(1)
                               : path_ + ", dataset \"" + labels_array_ + "\"";
}

void ImageDataset::check_labels(int64_t num_classes) const {
  const std::string where = labels_where() + ": ";
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

namespace {

// Calls use(file, place in that file) for each sample.
template <typename Use>
void for_each_place(const ArrayView& samples, const Use& use) {
  std::vector<int64_t> begins{0};
  for (size_t file = 0; file < samples.files().size(); ++file)
    begins.push_back(begins.back() + samples.samples_of_file(file));
  for (int64_t i = 0; i < samples.size(); ++i) {
    const size_t file = samples.file_of(i);
    use(file, samples.place_of(i) - begins[file]);
  }
}

}  // namespace

int64_t ImageDataset::shared_with(const ImageDataset& other) const {
  const ArrayView &mine = *arrays_[0], &theirs = *other.arrays_[0];
  if (mine.array() != theirs.array()) return 0;
  std::map<std::string, std::vector<bool>> taken;  // of a file: which of its samples are theirs
  for_each_place(theirs, [&](size_t file, int64_t place) {
    std::vector<bool>& of_file = taken[theirs.files()[file]];
    if (of_file.empty()) of_file.resize(static_cast<size_t>(theirs.samples_of_file(file)));
    of_file[static_cast<size_t>(place)] = true;
  });
  int64_t shared = 0;
  for_each_place(mine, [&](size_t file, int64_t place) {
    const auto of_file = taken.find(mine.files()[file]);
    shared += of_file != taken.end() && of_file->second[static_cast<size_t>(place)];
  });
  return shared;
}

torch::Tensor ImageDataset::read_values(const std::vector<int64_t>& indices) {
  return read_stacked(arrays_, indices, /*shift=*/0, example_shape_);
}

Batch ImageDataset::read(const std::vector<int64_t>& indices) {
  for (const int64_t index : indices) {
    if (index >= 0 && index < size()) continue;
    throw DataError(path_ + ", split " + split_ + ": sample " + std::to_string(index) +
                    " asked for, expected 0 to " + std::to_string(size() - 1) + ".");
  }
  Batch batch{read_values(indices), {}, indices};
  if (has_labels()) {
    batch.labels = torch::empty({static_cast<int64_t>(indices.size())}, torch::kInt64);
    const int64_t* all = labels_.const_data_ptr<int64_t>();
    std::transform(indices.begin(), indices.end(), batch.labels.data_ptr<int64_t>(),
                   [all](int64_t index) { return all[index]; });
  }
  check_values(batch);
  batch.conditions = read_conditions(indices);
  return batch;
}

ConditionValues ImageDataset::read_conditions(const std::vector<int64_t>& indices) {
  return conditions_->read(indices);
}

const std::vector<int64_t>& ImageDataset::condition_shape(const std::string& name) const {
  return conditions_->shape(name);
}

const std::string& ImageDataset::condition_where(const std::string& name) const {
  return conditions_->where(name);
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
  const auto index = batch.indices[static_cast<size_t>(place / dims())];
  const std::string file = files().size() > 1 ? ", in " + files()[arrays_[0]->file_of(index)] : "";
  const std::string sample = where() + ": sample " + std::to_string(index) + file;
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
