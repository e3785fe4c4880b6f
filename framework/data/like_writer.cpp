#include "framework/data/like_writer.hpp"

#include <algorithm>

#include "framework/core/check.hpp"
#include "framework/data/hdf5_call.hpp"
#include "framework/data/npy.hpp"

namespace scorenet::data {
namespace {

constexpr const char* kFullDisk = "Check the free space and the permissions there.";

// Bytes of strings of variable length are HDF5's own and go back to it.
void copy_attribute(hid_t from, hid_t to, const char* key) {
  const Hdf5Handle attribute(H5Aopen(from, key, H5P_DEFAULT), H5Aclose);
  const Hdf5Handle type(H5Aget_type(attribute.id()), H5Tclose);
  const Hdf5Handle space(H5Aget_space(attribute.id()), H5Sclose);
  if (!attribute.valid() || H5Tget_class(type.id()) == H5T_REFERENCE) return;
  if (H5Aexists(to, key) > 0) return;
  const auto points =
      static_cast<size_t>(std::max<hssize_t>(0, H5Sget_simple_extent_npoints(space.id())));
  std::vector<char> bytes(std::max<size_t>(1, points * H5Tget_size(type.id())));
  if (H5Aread(attribute.id(), type.id(), bytes.data()) < 0) return;
  const Hdf5Handle copy(H5Acreate2(to, key, type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT),
                        H5Aclose);
  if (copy.valid()) H5Awrite(copy.id(), type.id(), bytes.data());
  H5Dvlen_reclaim(type.id(), space.id(), H5P_DEFAULT, bytes.data());
}

void copy_attributes(hid_t from, hid_t to) {
  std::vector<std::string> keys;
  hsize_t next = 0;
  H5Aiterate2(
      from, H5_INDEX_NAME, H5_ITER_NATIVE, &next,
      [](hid_t, const char* key, const H5A_info_t*, void* all) -> herr_t {
        static_cast<std::vector<std::string>*>(all)->emplace_back(key);
        return 0;
      },
      &keys);
  for (const std::string& key : keys) copy_attribute(from, to, key.c_str());
}

struct Extent {
  std::vector<hsize_t> size, most;
};

Extent extent_of(hid_t array) {
  const auto space = own(H5Dget_space(array), H5Sclose);
  const int axes = std::max(0, H5Sget_simple_extent_ndims(space.id()));
  Extent extent{std::vector<hsize_t>(static_cast<size_t>(axes)),
                std::vector<hsize_t>(static_cast<size_t>(axes))};
  H5Sget_simple_extent_dims(space.id(), extent.size.data(), extent.most.data());
  return extent;
}

// How the array is stored, for one of `extent`: chunks no larger than it, values in this file.
Hdf5Handle storage_like(hid_t like, const Extent& extent) {
  auto storage = own(H5Dget_create_plist(like), H5Pclose);
  const bool elsewhere =
      H5Pget_external_count(storage.id()) > 0 || H5Pget_layout(storage.id()) == H5D_VIRTUAL;
  if (elsewhere) return new_array_properties();
  H5Pset_obj_track_times(storage.id(), false);
  if (H5Pget_layout(storage.id()) == H5D_COMPACT) H5Pset_layout(storage.id(), H5D_CONTIGUOUS);
  if (H5Pget_layout(storage.id()) != H5D_CHUNKED) return storage;
  std::vector<hsize_t> chunk(extent.size.size());
  H5Pget_chunk(storage.id(), static_cast<int>(chunk.size()), chunk.data());
  for (size_t i = 0; i < chunk.size(); ++i)
    if (extent.most[i] != H5S_UNLIMITED) chunk[i] = std::min(chunk[i], extent.most[i]);
  H5Pset_chunk(storage.id(), static_cast<int>(chunk.size()), chunk.data());
  return storage;
}

// Attributes of the groups on the way to an array, which exist by now.
void copy_group_attributes(hid_t from, hid_t to, const std::string& name) {
  for (size_t end = name.find('/', 1); end != std::string::npos; end = name.find('/', end + 1)) {
    const std::string group = name.substr(0, end);
    const Hdf5Handle one(H5Gopen2(from, group.c_str(), H5P_DEFAULT), H5Gclose);
    const Hdf5Handle other(H5Gopen2(to, group.c_str(), H5P_DEFAULT), H5Gclose);
    if (one.valid() && other.valid()) copy_attributes(one.id(), other.id());
  }
}

// (B, ...) of a sample as delivered -> as it is stored: own axes at their places, B at the first
// that numbers samples, length 1 at the others. An added channel axis is not stored.
torch::Tensor stored_rows(const SampleLayout& layout, const torch::Tensor& x) {
  std::vector<int64_t> own_sizes{x.size(0)};
  for (const size_t axis : layout.own_axes()) own_sizes.push_back(layout.window()[axis].count);
  std::vector<int64_t> place(layout.shape().size(), -1);  // of each stored axis in own_sizes
  for (size_t i = 0; i < layout.own_axes().size(); ++i)
    place[layout.own_axes()[i]] = static_cast<int64_t>(i) + 1;
  place[layout.sample_axes()[0]] = 0;
  std::vector<int64_t> order;
  for (const int64_t one : place)
    if (one >= 0) order.push_back(one);
  torch::Tensor rows = x.reshape(own_sizes).permute(order);
  for (size_t axis = 0; axis < place.size(); ++axis)
    if (place[axis] < 0) rows = rows.unsqueeze(static_cast<int64_t>(axis));
  return rows;
}

// Sizes of an array that holds so many samples.
std::vector<int64_t> sizes_for(const SampleLayout& layout, int64_t samples) {
  std::vector<int64_t> sizes;
  for (const Places& places : layout.window()) sizes.push_back(places.count);
  for (const size_t axis : layout.sample_axes()) sizes[axis] = 1;
  sizes[layout.sample_axes()[0]] = samples;
  return sizes;
}

Hdf5Handle opened_array(const Hdf5Handle& file, const std::string& path, const std::string& name) {
  return checked(H5Dopen2(file.id(), name.c_str(), H5P_DEFAULT), H5Dclose,
                 path + ", dataset \"" + name + "\"", "is not there",
                 "Give the file that the model was trained on.");
}

int64_t axes_of(const Hdf5Handle& file, const std::string& path, const std::string& name) {
  return static_cast<int64_t>(extent_of(opened_array(file, path, name).id()).size.size());
}

}  // namespace

LikeWriter::LikeWriter(const std::string& like, const DataMap& map, const std::string& split,
                       const std::string& path, int64_t samples,
                       const std::vector<ConditionMap>& conditions)
    : path_(path), samples_(samples) {
  if (is_npy(like))
    create_npy(like, map);
  else
    create_hdf5(like, map, split, conditions);
  example_shape_ = stacked_shape_;
  if (map.reshape.empty()) return;
  // -1 is what is left, as in reading.
  example_shape_ = torch::empty(stacked_shape_, torch::kUInt8).reshape(map.reshape).sizes().vec();
}

void LikeWriter::stack(const Array& array) {
  const auto& shape = array.layout.sample_shape();
  if (stacked_shape_.empty())
    stacked_shape_ = shape;
  else
    stacked_shape_[0] += shape[0];
}

void LikeWriter::create_npy(const std::string& like, const DataMap& map) {
  const NpyFile file(like, /*every_type=*/true);
  const SampleLayout layout(file.shape(), roles_of_samples(map), file.where());
  if (layout.sample_axes()[0] != 0) {
    throw DataError(
        file.where() +
        ": its first axis does not number the samples, as writing a .npy file needs. Leave --like "
        "out and use samples.h5.");
  }
  npy_ = std::make_unique<NpyWriter>(path_, file.dtype(), sizes_for(layout, samples_));
  arrays_.push_back({{}, like, layout, !c10::isFloatingType(file.dtype())});
  stack(arrays_.back());
}

void LikeWriter::create_hdf5(const std::string& like, const DataMap& map, const std::string& split,
                             const std::vector<ConditionMap>& conditions) {
  Hdf5File::open(like);  // says what is wrong with it
  Hdf5Section section;
  const auto access = own(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_file_locking(access.id(), false, true);
  const auto from = checked(H5Fopen(like.c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose, like,
                            "cannot be opened", kDamaged);
  file_ = checked(H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose,
                  path_, "cannot be created", kFullDisk);
  copy_attributes(from.id(), file_.id());
  std::vector<std::string> names;
  std::vector<int64_t> axes;
  for (const std::string& array : map.arrays) {
    names.push_back(with_split(array, split));
    if (!names.back().starts_with('/')) names.back().insert(0, "/");
    axes.push_back(axes_of(from, like, names.back()));
  }
  const auto roles = roles_of_arrays(map, axes);
  for (size_t i = 0; i < names.size(); ++i) {
    arrays_.push_back(create_array(from, like, names[i], roles[i]));
    copy_group_attributes(from.id(), file_.id(), names[i]);
    stack(arrays_.back());
  }
  for (const ConditionMap& condition : conditions) {
    const std::string name = with_split(condition.array, split);
    if (condition.is_field() || is_npy(name)) continue;
    const std::string full = name.starts_with('/') ? name : "/" + name;
    conditions_.emplace(condition.name, create_array(from, like, full, roles_beside_samples(map)));
  }
}

LikeWriter::Array LikeWriter::create_array(const Hdf5Handle& like, const std::string& like_path,
                                           const std::string& name, const AxisRoles& roles) {
  const std::string where = like_path + ", dataset \"" + name + "\"";
  const auto source = opened_array(like, like_path, name);
  Extent extent = extent_of(source.id());
  const std::vector<int64_t> shape(extent.size.begin(), extent.size.end());
  Array array{{}, name, SampleLayout(shape, roles, where), false};
  const auto sizes = sizes_for(array.layout, samples_);
  for (size_t axis = 0; axis < sizes.size(); ++axis) {
    extent.size[axis] = static_cast<hsize_t>(sizes[axis]);
    if (extent.most[axis] != H5S_UNLIMITED) extent.most[axis] = extent.size[axis];
  }
  const auto type = own(H5Dget_type(source.id()), H5Tclose);
  const auto space =
      own(H5Screate_simple(static_cast<int>(shape.size()), extent.size.data(), extent.most.data()),
          H5Sclose);
  const auto links = own(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.id(), 1);
  const auto storage = storage_like(source.id(), extent);
  array.handle =
      checked(H5Dcreate2(file_.id(), name.c_str(), type.id(), space.id(), links.id(), storage.id(),
                         H5P_DEFAULT),
              H5Dclose, path_ + ", dataset \"" + name + "\"", "cannot be created", kFullDisk);
  array.whole_numbers = H5Tget_class(type.id()) == H5T_INTEGER;
  copy_attributes(source.id(), array.handle.id());
  return array;
}

void LikeWriter::write(int64_t first, const torch::Tensor& x) {
  std::vector<int64_t> shape = stacked_shape_;
  shape.insert(shape.begin(), x.size(0));
  const torch::Tensor stacked = x.reshape(shape);
  int64_t channel = 0;
  for (const Array& array : arrays_) {
    const int64_t channels = array.layout.sample_shape()[0];
    write_part(array, first, arrays_.size() == 1 ? stacked : stacked.narrow(1, channel, channels));
    channel += channels;
  }
}

void LikeWriter::write_part(const Array& array, int64_t first, const torch::Tensor& x) {
  torch::Tensor rows = stored_rows(array.layout, x);
  if (array.whole_numbers) rows = rows.round();
  if (npy_) return npy_->write_rows(first, rows);
  rows = rows.to(torch::kFloat64).contiguous();
  std::vector<hsize_t> start(rows.sizes().size(), 0);
  start[array.layout.sample_axes()[0]] = static_cast<hsize_t>(first);
  const std::vector<hsize_t> count(rows.sizes().begin(), rows.sizes().end());
  Hdf5Section section;
  const auto memory =
      own(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose);
  const auto space = own(H5Dget_space(array.handle.id()), H5Sclose);
  H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
  if (H5Dwrite(array.handle.id(), H5T_NATIVE_DOUBLE, memory.id(), space.id(), H5P_DEFAULT,
               rows.data_ptr()) < 0)
    fail(path_ + ", dataset \"" + array.name + "\"", "cannot be written", kFullDisk);
}

void LikeWriter::write_conditions(int64_t first, const ConditionValues& values) {
  for (const auto& [name, array] : conditions_) write_part(array, first, values.at(name));
}

void LikeWriter::close() {
  if (npy_) return npy_->close();
  Hdf5Section section;
  arrays_.clear();
  conditions_.clear();
  if (H5Fflush(file_.id(), H5F_SCOPE_LOCAL) < 0) fail(path_, "cannot be written out", kFullDisk);
  file_ = {};
}

}  // namespace scorenet::data
