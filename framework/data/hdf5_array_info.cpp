#include "framework/data/hdf5_array_info.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <vector>

#include "framework/core/error.hpp"
#include "framework/data/hdf5_call.hpp"

namespace scorenet::data {
namespace {

struct NativeType {
  torch::Dtype dtype;
  const char* name;
  hid_t hdf5;
};

// H5T_NATIVE_* open the library, hence a function.
std::vector<NativeType> native_types() {
  return {{torch::kUInt8, "uint8", H5T_NATIVE_UINT8},
          {torch::kInt8, "int8", H5T_NATIVE_INT8},
          {torch::kInt16, "int16", H5T_NATIVE_INT16},
          {torch::kInt32, "int32", H5T_NATIVE_INT32},
          {torch::kInt64, "int64", H5T_NATIVE_INT64},
          {torch::kFloat32, "float32", H5T_NATIVE_FLOAT},
          {torch::kFloat64, "float64", H5T_NATIVE_DOUBLE}};
}

std::vector<int64_t> to_shape(const std::vector<hsize_t>& dims) {
  return {dims.begin(), dims.end()};
}

// Bytes of all values. What a file declares may be more than any number holds.
int64_t bytes_of(const std::vector<hsize_t>& dims, size_t element, const std::string& where) {
  int64_t bytes = static_cast<int64_t>(element);
  bool too_many = false;
  for (const hsize_t size : dims)
    too_many = too_many || size > static_cast<hsize_t>(std::numeric_limits<int64_t>::max()) ||
               __builtin_mul_overflow(bytes, static_cast<int64_t>(size), &bytes);
  if (!too_many) return bytes;
  throw DataError(where + ": declares more values than any file holds. " + kDamaged);
}

void describe_type(hid_t array, Hdf5ArrayInfo& info) {
  const auto type = own(H5Dget_type(array), H5Tclose);
  info.type_name = type_name_of(type.id());
  for (const auto& native : native_types()) {
    if (info.type_name != native.name) continue;
    info.dtype = native.dtype;
    info.bytes_are_native = H5Tequal(type.id(), native.hdf5) > 0;
  }
}

// Files rarely name what compressed them; HDF5 keeps a list of numbers.
std::string name_of_filter(H5Z_filter_t filter, const char* name) {
  static const std::map<H5Z_filter_t, const char*> kRegistered{
      {32000, "lzf"}, {32001, "blosc"}, {32004, "lz4"}, {32008, "bitshuffle"},
      {32013, "zfp"}, {32015, "zstd"},  {32017, "sz"},  {32026, "blosc2"}};
  const auto known = kRegistered.find(filter);
  return *name != '\0' || known == kRegistered.end() ? name : known->second;
}

// "gzip 4", "shuffle", "filter 32015 (zstd)".
std::string filter_text(H5Z_filter_t filter, const char* name, const unsigned* values,
                        size_t count) {
  if (filter == H5Z_FILTER_DEFLATE)
    return "gzip" + (count > 0 ? " " + std::to_string(values[0]) : std::string());
  if (filter == H5Z_FILTER_SHUFFLE) return "shuffle";
  if (filter == H5Z_FILTER_FLETCHER32) return "fletcher32";
  if (filter == H5Z_FILTER_SZIP) return "szip";
  return "filter " + std::to_string(filter) + " (" + name_of_filter(filter, name) + ")";
}

void describe_storage(hid_t array, Hdf5ArrayInfo& info) {
  const auto properties = own(H5Dget_create_plist(array), H5Pclose);
  if (H5Pget_layout(properties.id()) == H5D_CHUNKED) {
    std::vector<hsize_t> chunk(info.shape.size());
    H5Pget_chunk(properties.id(), static_cast<int>(chunk.size()), chunk.data());
    info.chunk = to_shape(chunk);
  } else if (H5Pget_layout(properties.id()) == H5D_CONTIGUOUS &&
             H5Pget_external_count(properties.id()) == 0) {
    const haddr_t offset = H5Dget_offset(array);
    if (offset != HADDR_UNDEF) info.offset = static_cast<int64_t>(offset);
  }
  const int filters = H5Pget_nfilters(properties.id());
  for (int i = 0; i < filters; ++i) {
    unsigned flags = 0, config = 0, values[8] = {};
    size_t count = 8;
    char name[64] = "";
    const H5Z_filter_t filter = H5Pget_filter2(properties.id(), static_cast<unsigned>(i), &flags,
                                               &count, values, sizeof(name), name, &config);
    info.filters.push_back(filter_text(filter, name, values, count));
    if (H5Zfilter_avail(filter) <= 0 && info.missing_filter.empty())
      info.missing_filter = info.filters.back();
    info.compressed = true;
  }
}

}  // namespace

hid_t hdf5_type(torch::Dtype dtype) {
  for (const auto& type : native_types()) {
    if (type.dtype == dtype) return type.hdf5;
  }
  throw DataError(std::string("HDF5: tensors of type ") + c10::toString(dtype) +
                  " are not stored. Convert to uint8, int32, int64, float32 or float64.");
}

std::string type_name_of(hid_t type) {
  const auto bits = std::to_string(8 * H5Tget_size(type));
  switch (H5Tget_class(type)) {
    case H5T_INTEGER:
      return (H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int") + bits;
    case H5T_FLOAT:
      return "float" + bits;
    case H5T_STRING:
      return "string";
    case H5T_COMPOUND:
      return "compound";
    case H5T_ENUM:  // h5py's bool is one, too
      return "enumeration of " + bits + " bits";
    case H5T_ARRAY:
      return "array of fixed length";
    case H5T_VLEN:
      return "array of variable length";
    case H5T_REFERENCE:
      return "reference";
    default:
      return "an unusual type of " + bits + " bits";
  }
}

Hdf5ArrayInfo array_info_of(hid_t array, const std::string& where) {
  Hdf5ArrayInfo info;
  const auto space = own(H5Dget_space(array), H5Sclose);
  std::vector<hsize_t> dims(
      static_cast<size_t>(std::max(0, H5Sget_simple_extent_ndims(space.id()))));
  if (!dims.empty()) H5Sget_simple_extent_dims(space.id(), dims.data(), nullptr);
  info.shape = to_shape(dims);
  info.file = file_of_object(array);
  const auto type = own(H5Dget_type(array), H5Tclose);
  info.bytes = bytes_of(dims, H5Tget_size(type.id()), where);
  describe_type(array, info);
  describe_storage(array, info);
  return info;
}

}  // namespace scorenet::data
