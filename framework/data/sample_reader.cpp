#include "framework/data/sample_reader.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "framework/core/check.hpp"
#include "framework/data/address.hpp"
#include "framework/data/chunk_inflater.hpp"
#include "framework/data/mapped_file.hpp"
#include "framework/data/npy.hpp"

namespace scorenet::data {
namespace {

// Blocks smaller than this are read several at a time: a call costs as much as 100 kB of copying.
constexpr int64_t kLeastBlockBytes = int64_t{1} << 18;

torch::Dtype delivered_or_refused(const Hdf5ArrayInfo& info, const std::string& where) {
  const std::string found =
      where + ": type " + info.type_name + ", shape " + shape_string(info.shape);
  for (const int64_t size : info.shape) {
    if (size == 0) throw DataError(found + "; expected at least one sample of at least one value.");
  }
  if (const auto dtype = delivered_type(info.type_name)) return *dtype;
  throw DataError(
      found +
      "; expected uint8, float32 or float64, or a type that one of these holds exactly: "
      "integers of up to 32 bits, float16. Convert the data to one of these.");
}

int64_t element_bytes(torch::Dtype dtype) { return static_cast<int64_t>(c10::elementSize(dtype)); }

// Bytes from one value to the next along each axis of values that lie in memory in this shape.
std::vector<int64_t> strides_of(const std::vector<int64_t>& shape, int64_t element) {
  std::vector<int64_t> strides(shape.size(), element);
  for (size_t axis = shape.size(); axis-- > 1;) strides[axis - 1] = strides[axis] * shape[axis];
  return strides;
}

// A sample's own axes, in the order of delivery, where the array lies with these strides.
StridedCopy copy_of_sample(const SampleLayout& layout, const std::vector<int64_t>& strides,
                           int64_t element) {
  std::vector<StridedCopy::Axis> axes;
  for (const size_t axis : layout.own_axes())
    axes.push_back({layout.window()[axis].count, strides[axis]});
  return {std::move(axes), element};
}

char* place_in(torch::Tensor& batch, int64_t place, int64_t sample_bytes) {
  return static_cast<char*>(batch.data_ptr()) + place * sample_bytes;
}

class MappedSamples : public SampleReader {
 public:
  // stored: the type of the file's bytes.
  MappedSamples(SampleLayout layout, Hdf5ArrayInfo storage, torch::Dtype stored, torch::Dtype dtype,
                std::vector<StoredFile> files, const std::string& where)
      : SampleReader(std::move(layout), std::move(storage), dtype, std::move(files)),
        stored_(stored),
        file_(storage_.file),
        strides_(window_strides(element_bytes(stored))),
        copy_(copy_of_sample(layout_, strides_, element_bytes(stored))),
        first_(storage_.offset + window_start(element_bytes(stored))) {
    const int64_t end = storage_.offset + storage_.bytes;
    if (end <= file_.size()) return;
    throw DataError(where + ": ends at byte " + std::to_string(end) + ", the file has " +
                    std::to_string(file_.size()) +
                    ". The file is truncated: copy or make it again.");
  }

  void read(const std::vector<Wanted>& wanted, torch::Tensor& batch) override {
    const int64_t bytes = layout_.sample_elements() * element_bytes(dtype_);
    torch::Tensor as_stored;
    if (stored_ != dtype_) as_stored = torch::empty(layout_.sample_shape(), stored_);
    for (const Wanted& one : wanted) {
      char* out = place_in(batch, one.place, bytes);
      void* first = as_stored.defined() ? as_stored.data_ptr() : out;
      copy_from_mapped(first, file_.at(offset_of(one.sample)), copy_, file_.path());
      if (as_stored.defined()) batch[one.place].copy_(as_stored);
    }
  }

  int64_t block_rows() const override { return 1; }

 private:
  // From one place of the window to the next.
  std::vector<int64_t> window_strides(int64_t element) const {
    std::vector<int64_t> strides = strides_of(layout_.shape(), element);
    for (size_t axis = 0; axis < strides.size(); ++axis)
      strides[axis] *= layout_.window()[axis].step;
    return strides;
  }

  int64_t window_start(int64_t element) const {
    const std::vector<int64_t> strides = strides_of(layout_.shape(), element);
    int64_t start = 0;
    for (size_t axis = 0; axis < strides.size(); ++axis)
      start += layout_.window()[axis].first * strides[axis];
    return start;
  }

  int64_t offset_of(int64_t sample) const {
    int64_t offset = first_;
    const auto position = layout_.position(sample);
    for (size_t i = 0; i < position.size(); ++i)
      offset += position[i] * strides_[layout_.sample_axes()[i]];
    return offset;
  }

  torch::Dtype stored_;
  MappedFile file_;
  std::vector<int64_t> strides_;
  StridedCopy copy_;
  int64_t first_;  // byte of the file at which the window begins
};

// Blocks: so many samples along each sample axis, whole samples, as many as chunks have.
class BlockSamples : public SampleReader {
 public:
  BlockSamples(SampleLayout layout, Hdf5Array array, torch::Dtype dtype, const Reading& reading,
               int64_t file)
      : SampleReader(std::move(layout), array.info(), dtype, array.files()),
        array_(std::move(array)),
        cache_(reading.cache),
        threads_(std::max(1, reading.threads)),
        file_(file) {
    choose_extents();
    if (ChunkInflater::can_read(storage_) && storage_.dtype == dtype_)
      inflater_.emplace(array_, threads_);
  }

  void read(const std::vector<Wanted>& wanted, torch::Tensor& batch) override {
    // Samples of one block are served together, so that even a batch wider than the cache reads
    // each block once.
    std::map<int64_t, std::vector<Wanted>> by_block;
    for (const Wanted& one : wanted) by_block[block_of(one.sample)].push_back(one);
    std::vector<std::pair<int64_t, std::vector<Wanted>>> blocks(by_block.begin(), by_block.end());
    // So many at once as keep the threads at work and may stay in memory.
    const auto at_once =
        static_cast<size_t>(inflater_ ? std::clamp<int64_t>(2 * threads_, 1, cache_.most()) : 1);
    for (size_t first = 0; first < blocks.size(); first += at_once) {
      const size_t end = std::min(blocks.size(), first + at_once);
      const auto values = values_of({blocks.begin() + static_cast<std::ptrdiff_t>(first),
                                     blocks.begin() + static_cast<std::ptrdiff_t>(end)});
      for (size_t i = first; i < end; ++i) serve(blocks[i].second, values[i - first], batch);
    }
  }

  int64_t block_rows() const override {
    int64_t rows = 1;
    for (size_t i = extents_.size(); i-- > 0;) {
      rows *= extents_[i];
      if (extents_[i] < axis_count(i)) break;
    }
    return rows;
  }

 private:
  int64_t axis_count(size_t i) const { return layout_.window()[layout_.sample_axes()[i]].count; }

  // A chunk's samples, or more along the fastest axes until a block is worth a call.
  void choose_extents() {
    int64_t bytes = layout_.sample_elements() * element_bytes(dtype_);
    for (size_t i = 0; i < layout_.sample_axes().size(); ++i) {
      const size_t axis = layout_.sample_axes()[i];
      const int64_t chunk = storage_.chunk.empty() ? 1 : storage_.chunk[axis];
      extents_.push_back(
          std::clamp<int64_t>(chunk / layout_.window()[axis].step, 1, axis_count(i)));
      bytes *= extents_.back();
    }
    int64_t more = std::max<int64_t>(1, kLeastBlockBytes / std::max<int64_t>(1, bytes));
    for (size_t i = extents_.size(); i-- > 1;) {
      const int64_t room = (axis_count(i) - 1) / extents_[i] + 1;
      extents_[i] *= std::min(more, room);
      more = std::max<int64_t>(1, more / room);
    }
    extents_[0] *= more;
  }

  int64_t block_of(int64_t sample) const {
    const auto position = layout_.position(sample);
    int64_t block = 0;
    for (size_t i = 0; i < position.size(); ++i)
      block = block * ((axis_count(i) - 1) / extents_[i] + 1) + position[i] / extents_[i];
    return block;
  }

  // The places, in the stored array, of the block that holds this sample.
  std::vector<Places> region_at(const std::vector<int64_t>& position) const {
    std::vector<Places> region = layout_.window();
    for (size_t i = 0; i < position.size(); ++i) {
      Places& places = region[layout_.sample_axes()[i]];
      const int64_t first = position[i] / extents_[i] * extents_[i];
      places = {places.at(first), std::min(extents_[i], places.count - first), places.step};
    }
    return region;
  }

  // Of blocks, each with a sample of it.
  std::vector<torch::Tensor> values_of(
      const std::vector<std::pair<int64_t, std::vector<Wanted>>>& blocks) {
    std::vector<torch::Tensor> values;
    std::vector<size_t> unread;
    std::vector<std::vector<Places>> regions;
    for (const auto& [block, wanted] : blocks) {
      values.push_back(cache_.find(file_, block));
      if (values.back().defined()) continue;
      unread.push_back(values.size() - 1);
      regions.push_back(region_at(layout_.position(wanted.front().sample)));
    }
    std::vector<torch::Tensor> read;
    if (inflater_) read = inflater_->read(regions);
    for (size_t i = 0; i < unread.size(); ++i) {
      torch::Tensor& block = values[unread[i]];
      block = inflater_ ? read[i] : array_.read_region(regions[i], dtype_);
      cache_.put(file_, blocks[unread[i]].first, block);
    }
    return values;
  }

  // Copies samples out of the block that holds them.
  void serve(const std::vector<Wanted>& wanted, const torch::Tensor& values, torch::Tensor& batch) {
    const int64_t element = element_bytes(dtype_);
    const auto strides = strides_of(values.sizes().vec(), element);
    const StridedCopy copy = copy_of_sample(layout_, strides, element);
    for (const Wanted& one : wanted) {
      int64_t offset = 0;
      const auto position = layout_.position(one.sample);
      for (size_t i = 0; i < position.size(); ++i)
        offset += position[i] % extents_[i] * strides[layout_.sample_axes()[i]];
      copy_strided(place_in(batch, one.place, copy.bytes()),
                   static_cast<const char*>(values.data_ptr()) + offset, copy);
    }
  }

  Hdf5Array array_;
  BlockCache& cache_;
  int threads_;
  int64_t file_;
  std::vector<int64_t> extents_;           // of a block, along each sample axis
  std::optional<ChunkInflater> inflater_;  // of array_
};

FileListing look_at_npy(const std::string& path) {
  const NpyFile file(path, /*every_type=*/true);
  if (file.offset() < 0)
    throw DataError(path + ": is compressed, expected a plain .npy file. Unpack it with gunzip.");
  Hdf5ArrayInfo storage;
  storage.shape = file.shape();
  storage.type_name = file.type_name();
  storage.bytes_are_native = true;
  storage.dtype = file.dtype();
  storage.offset = file.offset();
  storage.bytes = element_bytes(file.dtype());
  for (const int64_t size : storage.shape) storage.bytes *= size;
  storage.file = path;
  return {{look_at_file(path)}, storage};
}

// Whether samples of HDF5's are copied from where they lie in the file.
bool can_map(const Hdf5ArrayInfo& info, torch::Dtype dtype) {
  return info.offset >= 0 && info.bytes_are_native && info.dtype == dtype && !is_remote(info.file);
}

std::unique_ptr<SampleReader> map_samples(const FileListing& file, const AxisRoles& roles,
                                          const std::string& where) {
  const Hdf5ArrayInfo& info = file.storage;
  const torch::Dtype dtype = delivered_or_refused(info, where);
  return std::make_unique<MappedSamples>(sample_layout(info, roles, where), info, *info.dtype,
                                         dtype, file.files, where);
}

}  // namespace

std::optional<torch::Dtype> delivered_type(const std::string& stored) {
  struct Delivered {
    const char* stored;
    torch::Dtype dtype;
  };
  static constexpr std::array<Delivered, 9> kTypes{{{"uint8", torch::kUInt8},
                                                    {"int8", torch::kFloat32},
                                                    {"int16", torch::kFloat32},
                                                    {"uint16", torch::kFloat32},
                                                    {"float16", torch::kFloat32},
                                                    {"float32", torch::kFloat32},
                                                    {"int32", torch::kFloat64},
                                                    {"uint32", torch::kFloat64},
                                                    {"float64", torch::kFloat64}}};
  for (const Delivered& type : kTypes)
    if (stored == type.stored) return type.dtype;
  return std::nullopt;
}

SampleLayout sample_layout(const Hdf5ArrayInfo& storage, const AxisRoles& roles,
                           const std::string& where) {
  return {storage.shape, roles, where + ": type " + storage.type_name};
}

std::unique_ptr<SampleReader> open_samples(const std::string& path, const std::string& array,
                                           const AxisRoles& roles, const Reading& reading,
                                           int64_t file, const FileListing* known) {
  if (is_npy(path)) return map_samples(known ? *known : look_at_npy(path), roles, path);
  const std::string name = array.starts_with('/') ? array : "/" + array;
  if (known && can_map(known->storage, *delivered_type(known->storage.type_name)))
    return map_samples(*known, roles, array_text(path, name, known->storage));
  Hdf5Array opened = known ? Hdf5File::open(path).known_array(name, known->files)
                           : Hdf5File::open(path).array(name);
  const Hdf5ArrayInfo& info = opened.info();
  const torch::Dtype dtype = delivered_or_refused(info, opened.where());
  if (can_map(info, dtype)) return map_samples({opened.files(), info}, roles, opened.where());
  SampleLayout layout = sample_layout(info, roles, opened.where());
  return std::make_unique<BlockSamples>(std::move(layout), std::move(opened), dtype, reading, file);
}

}  // namespace scorenet::data
