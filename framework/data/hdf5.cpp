#include "framework/data/hdf5.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <utility>

#include "framework/core/check.hpp"
#include "framework/data/hdf5_call.hpp"
#include "framework/data/hdf5_links.hpp"
#include "framework/data/hdf5_storage.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::data {
namespace {

// What HDF5 itself said: its most specific record.
std::string hdf5_reason() {
  std::string reason;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned, const H5E_error2_t* record, void* out) -> herr_t {
        auto& text = *static_cast<std::string*>(out);
        if (text.empty() && record->desc) text = record->desc;
        return 0;
      },
      &reason);
  return reason.empty() ? "no reason given" : reason;
}

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

hid_t hdf5_type(torch::Dtype dtype) {
  for (const auto& type : native_types()) {
    if (type.dtype == dtype) return type.hdf5;
  }
  throw DataError(std::string("HDF5: tensors of type ") + c10::toString(dtype) +
                  " are not stored. Convert to uint8, int32, int64, float32 or float64.");
}

std::string type_name(hid_t type) {
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
    default:
      return "an unusual type of " + bits + " bits";
  }
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
  info.type_name = type_name(type.id());
  for (const auto& native : native_types()) {
    if (info.type_name != native.name) continue;
    info.dtype = native.dtype;
    info.bytes_are_native = H5Tequal(type.id(), native.hdf5) > 0;
  }
}

void describe_storage(hid_t array, Hdf5ArrayInfo& info, const std::string& where) {
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
    unsigned flags = 0, config = 0;
    size_t values = 0;
    char name[64] = "";
    const H5Z_filter_t filter = H5Pget_filter2(properties.id(), static_cast<unsigned>(i), &flags,
                                               &values, nullptr, sizeof(name), name, &config);
    if (H5Zfilter_avail(filter) <= 0) {
      throw DataError(where + ": compressed with filter " + std::to_string(filter) + " (" + name +
                      "), which this HDF5 library lacks. Install its plugin, or store the file "
                      "again without it (h5repack -f GZIP=1).");
    }
    info.compressed = true;
  }
}

Hdf5ArrayInfo describe(hid_t array, const std::string& where) {
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
  describe_storage(array, info, where);
  return info;
}

// Selections of `count` rows at `first`: {in memory, in the file}.
std::pair<Hdf5Handle, Hdf5Handle> select_rows(hid_t array, const std::vector<int64_t>& shape,
                                              int64_t first, int64_t count) {
  std::vector<hsize_t> start(shape.size(), 0), size(shape.begin(), shape.end());
  start[0] = static_cast<hsize_t>(first);
  size[0] = static_cast<hsize_t>(count);
  auto file = own(H5Dget_space(array), H5Sclose);
  H5Sselect_hyperslab(file.id(), H5S_SELECT_SET, start.data(), nullptr, size.data(), nullptr);
  auto memory =
      own(H5Screate_simple(static_cast<int>(size.size()), size.data(), nullptr), H5Sclose);
  return {std::move(memory), std::move(file)};
}

// A fixed-length string ends at its size or at the first zero.
std::vector<std::string> fixed_strings(const std::string& bytes, size_t size, size_t count) {
  std::vector<std::string> values;
  for (size_t i = 0; i < count; ++i) {
    std::string value = bytes.substr(i * size, size);
    value.resize(std::min(value.find('\0'), value.size()));
    values.push_back(std::move(value));
  }
  return values;
}

// Whether the values that a space and a type declare can be in a file that has room for `most`
// bytes of them.
bool fits_in(hid_t type, hid_t space, int64_t most) {
  const hssize_t count = H5Sget_simple_extent_npoints(space);
  const auto size = static_cast<hssize_t>(H5Tget_size(type));
  return size > 0 && count <= most / size;
}

// The strings of an array or attribute, of `most` bytes; nothing if they are more, or if
// read(memory type, buffer) fails.
template <typename Read>
std::optional<std::vector<std::string>> strings_from(hid_t type, hid_t space, int64_t most,
                                                     Read read) {
  if (!fits_in(type, space, most)) return std::nullopt;
  const auto count =
      static_cast<size_t>(std::max<hssize_t>(0, H5Sget_simple_extent_npoints(space)));
  if (count == 0) return std::vector<std::string>{};
  if (H5Tis_variable_str(type) <= 0) {
    std::string bytes(H5Tget_size(type) * count, '\0');
    if (read(type, bytes.data()) < 0) return std::nullopt;
    return fixed_strings(bytes, H5Tget_size(type), count);
  }
  std::vector<char*> starts(count, nullptr);
  if (read(type, starts.data()) < 0) return std::nullopt;
  std::vector<std::string> values;
  for (const char* start : starts) values.emplace_back(start != nullptr ? start : "");
  H5Dvlen_reclaim(type, space, H5P_DEFAULT, starts.data());
  return values;
}

std::string joined_lines(const std::vector<std::string>& lines) {
  std::string text;
  for (size_t i = 0; i < lines.size(); ++i) text += (i == 0 ? "" : "\n") + lines[i];
  return text;
}

// Copies one attribute of `from` to `to`, both open objects. False where that has no meaning or
// fails: references name places in their own file.
bool copy_attribute(hid_t from, hid_t to, const char* key, int64_t most) {
  const auto attribute = own(H5Aopen(from, key, H5P_DEFAULT), H5Aclose);
  const auto stored = own(H5Aget_type(attribute.id()), H5Tclose);
  if (H5Tdetect_class(stored.id(), H5T_REFERENCE) != 0) return false;
  const auto type = own(H5Tcopy(stored.id()), H5Tclose);  // a named type belongs to its file
  const auto space = own(H5Aget_space(attribute.id()), H5Sclose);
  if (!fits_in(type.id(), space.id(), most)) return false;
  const auto count = std::max<hssize_t>(0, H5Sget_simple_extent_npoints(space.id()));
  std::vector<char> values(static_cast<size_t>(count) * H5Tget_size(type.id()));
  if (count > 0 && H5Aread(attribute.id(), type.id(), values.data()) < 0) return false;
  const Hdf5Handle copy(H5Acreate2(to, key, type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT),
                        H5Aclose);
  const bool done =
      copy.valid() && (count == 0 || H5Awrite(copy.id(), type.id(), values.data()) >= 0);
  const bool has_pointers =
      H5Tdetect_class(type.id(), H5T_VLEN) > 0 || H5Tdetect_class(type.id(), H5T_STRING) > 0;
  if (count > 0 && has_pointers) {
    H5Dvlen_reclaim(type.id(), space.id(), H5P_DEFAULT, values.data());
  }
  return done;
}

// Those of the object `name` that its namesake in the other file lacks.
void copy_attributes(hid_t from_file, hid_t to_file, const std::string& name, int64_t most,
                     Notes& notes) {
  const auto from = own(H5Oopen(from_file, name.c_str(), H5P_DEFAULT), H5Oclose);
  const auto to = own(H5Oopen(to_file, name.c_str(), H5P_DEFAULT), H5Oclose);
  std::vector<std::string> keys;
  H5Aiterate2(
      from.id(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr,
      [](hid_t, const char* key, const H5A_info_t*, void* out) -> herr_t {
        static_cast<std::vector<std::string>*>(out)->emplace_back(key);
        return 0;
      },
      &keys);
  for (const auto& key : keys) {
    if (H5Aexists(to.id(), key.c_str()) > 0) continue;
    if (!copy_attribute(from.id(), to.id(), key.c_str(), most)) {
      notes.add("attributes that could not be copied", name + "@" + key);
    }
  }
}

}  // namespace

std::recursive_mutex& Hdf5Section::mutex() {
  static std::recursive_mutex m;
  return m;
}

void fail(const std::string& where, const std::string& what, const std::string& advice) {
  throw DataError(where + ": " + what + " (HDF5: " + hdf5_reason() + "). " + advice);
}

Hdf5Handle checked(hid_t id, Hdf5Handle::Close close, const std::string& where,
                   const std::string& what, const std::string& advice) {
  if (id < 0) fail(where, what, advice);
  return {id, close};
}

Hdf5Handle own(hid_t id, Hdf5Handle::Close close) {
  return checked(id, close, "HDF5", "a handle could not be made", "Free some memory.");
}

std::string file_of_object(hid_t object) {
  const ssize_t length = H5Fget_name(object, nullptr, 0);
  if (length <= 0) return "";
  std::string name(static_cast<size_t>(length) + 1, '\0');
  H5Fget_name(object, name.data(), name.size());
  name.resize(static_cast<size_t>(length));
  return name;
}

Hdf5Handle::Hdf5Handle(Hdf5Handle&& other) noexcept
    : id_(std::exchange(other.id_, -1)), close_(other.close_) {}

Hdf5Handle& Hdf5Handle::operator=(Hdf5Handle&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(close_, other.close_);
  return *this;
}

Hdf5Handle::~Hdf5Handle() {
  if (!valid()) return;
  static const std::string file = "an HDF5 file";
  const Hdf5Reading reading(file, 0);
  close_(id_);
}

Hdf5Array::Hdf5Array(Hdf5Handle array, std::string path, std::string name)
    : array_(std::move(array)), path_(std::move(path)), name_(std::move(name)) {
  const Hdf5Reading reading(path_, 0);
  info_ = describe(array_.id(), where());
}

std::string Hdf5Array::where() const {
  const bool elsewhere = !info_.file.empty() && info_.file != path_;
  return path_ + ", dataset \"" + name_ + "\"" + (elsewhere ? " (in " + info_.file + ")" : "");
}

torch::Tensor Hdf5Array::read_rows(int64_t first, int64_t count, torch::Dtype dtype) const {
  if (info_.shape.empty() || first < 0 || count < 0 || first + count > rows()) {
    throw DataError(where() + ": rows " + std::to_string(first) + " to " +
                    std::to_string(first + count) + " asked for, shape " +
                    shape_string(info_.shape) + ". Ask for rows that exist.");
  }
  std::vector<int64_t> shape = info_.shape;
  shape[0] = count;
  torch::Tensor rows = torch::empty(shape, dtype);
  if (rows.numel() == 0) return rows;
  const Hdf5Reading reading(path_, info_.bytes);
  const auto [memory, file] = select_rows(array_.id(), info_.shape, first, count);
  if (H5Dread(array_.id(), hdf5_type(dtype), memory.id(), file.id(), H5P_DEFAULT, rows.data_ptr()) <
      0) {
    check_not_shrunk(files_);
    fail(where(),
         "rows " + std::to_string(first) + " to " + std::to_string(first + count) + " of type " +
             info_.type_name + " cannot be read",
         kDamaged);
  }
  check_not_shrunk(files_);
  return rows;
}

torch::Tensor Hdf5Array::read_all(torch::Dtype dtype) const {
  if (!info_.shape.empty()) return read_rows(0, rows(), dtype);
  torch::Tensor value = torch::empty({}, dtype);
  const Hdf5Reading reading(path_, info_.bytes);
  if (H5Dread(array_.id(), hdf5_type(dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, value.data_ptr()) < 0) {
    fail(where(), "the value of type " + info_.type_name + " cannot be read", kDamaged);
  }
  return value;
}

void Hdf5Array::write_rows(int64_t first, const torch::Tensor& rows) {
  std::vector<int64_t> expected = info_.shape;
  if (!expected.empty() && rows.dim() > 0) expected[0] = rows.size(0);
  if (rows.sizes() != expected || rows.dim() == 0 || first + rows.size(0) > this->rows()) {
    throw DataError(where() + ": values of shape " + shape_string(rows.sizes()) + " at row " +
                    std::to_string(first) + " do not fit shape " + shape_string(info_.shape) + ".");
  }
  if (rows.numel() == 0) return;
  const auto values = rows.contiguous();
  const Hdf5Section section;
  const auto [memory, file] = select_rows(array_.id(), info_.shape, first, rows.size(0));
  if (H5Dwrite(array_.id(), hdf5_type(values.scalar_type()), memory.id(), file.id(), H5P_DEFAULT,
               values.data_ptr()) < 0) {
    fail(where(), "cannot be written", "Check the free space.");
  }
}

Hdf5File::Hdf5File(Hdf5Handle file, std::string path)
    : file_(std::move(file)), path_(std::move(path)) {}

Hdf5File Hdf5File::open(const std::string& path) {
  const Hdf5Reading reading(path, 0);
  const std::string reason = files::unreadable_because(path);
  if (reason == "no such file") {
    throw DataError(path +
                    ": no such file. Make one with `scorenet data convert`, or check data.path.");
  }
  if (!reason.empty()) {
    throw DataError(path + ": " + reason +
                    ", expected a readable HDF5 file. Check the path and its permissions.");
  }
  if (H5Fis_hdf5(path.c_str()) <= 0) {
    throw DataError(path +
                    ": expected an HDF5 file, found something else. Make one with "
                    "`scorenet data convert`.");
  }
  const auto access = own(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
#if H5_VERSION_GE(1, 10, 7)
  H5Pset_file_locking(access.id(), false, true);
#endif
  return {checked(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose, path,
                  "cannot be opened", kDamaged),
          path};
}

Hdf5File Hdf5File::create(const std::string& path) {
  const Hdf5Section section;
  const auto access = own(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
#if H5_VERSION_GE(1, 10, 7)
  H5Pset_file_locking(access.id(), true, true);  // where the file system has locks, use them
#endif
  return {checked(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.id()), H5Fclose, path,
                  "cannot be created", "Check that the folder exists and can be written."),
          path};
}

bool Hdf5File::has(const std::string& name) const {
  if (name == "/") return true;
  const Hdf5Reading reading(path_, 0);
  const auto access = careful_access(H5P_LINK_ACCESS);
  for (size_t end = name.find('/', 1); end != std::string::npos; end = name.find('/', end + 1)) {
    if (H5Lexists(file_.id(), name.substr(0, end).c_str(), access.id()) <= 0) return false;
  }
  return H5Lexists(file_.id(), name.c_str(), access.id()) > 0 &&
         H5Oexists_by_name(file_.id(), name.c_str(), access.id()) > 0;
}

std::string Hdf5File::broken_link(const std::string& name) const {
  const Hdf5Reading reading(path_, 0);
  const auto access = careful_access(H5P_LINK_ACCESS);
  for (size_t end = name.find('/', 1);; end = name.find('/', end + 1)) {
    const std::string part = name.substr(0, end);
    if (H5Lexists(file_.id(), part.c_str(), access.id()) <= 0) return "";
    if (H5Oexists_by_name(file_.id(), part.c_str(), access.id()) <= 0) {
      const std::string link = describe_link(file_.id(), part);
      return link.empty() ? "" : "\"" + part + "\" is " + link;
    }
    if (end == std::string::npos) return "";
  }
}

bool Hdf5File::is_group(const std::string& name) const {
  const Hdf5Reading reading(path_, 0);
  const auto access = careful_access(H5P_LINK_ACCESS);
  const Hdf5Handle object(H5Oopen(file_.id(), name.c_str(), access.id()), H5Oclose);
  return object.valid() && H5Iget_type(object.id()) == H5I_GROUP;
}

std::vector<std::string> Hdf5File::children(const std::string& group) const {
  std::vector<std::string> names;
  const Hdf5Reading reading(path_, files::regular_file_size(path_));
  const auto access = careful_access(H5P_GROUP_ACCESS);
  const auto object = checked(H5Gopen2(file_.id(), group.c_str(), access.id()), H5Gclose, path_,
                              "no group \"" + group + "\"", kDamaged);
  H5Literate(
      object.id(), H5_INDEX_NAME, H5_ITER_INC, nullptr,
      [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
        static_cast<std::vector<std::string>*>(out)->emplace_back(name);
        return 0;
      },
      &names);
  return names;
}

Hdf5Array Hdf5File::array(const std::string& name, int nesting) const {
  const Hdf5Reading reading(path_, files::regular_file_size(path_));
  if (!has(name)) {
    const std::string link = broken_link(name);
    throw DataError(path_ + ": no dataset \"" + name + "\"" + (link.empty() ? "" : "; " + link) +
                    ". Look at what the file holds with `scorenet data info` or h5ls -r.");
  }
  const auto access = careful_access(H5P_DATASET_ACCESS);
  Hdf5Array array(checked(H5Dopen2(file_.id(), name.c_str(), access.id()), H5Dclose, path_,
                          "\"" + name + "\" is not a readable dataset", kDamaged),
                  path_, name);
  array.files_ = check_stored(array.array_.id(), array.info_, array.where(), nesting);
  return array;
}

Hdf5Array Hdf5File::create_array(const std::string& name, const std::vector<int64_t>& shape,
                                 torch::Dtype dtype, const Hdf5Storage& storage) {
  const Hdf5Section section;
  std::vector<hsize_t> dims(shape.begin(), shape.end());
  const auto space =
      own(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose);
  const auto links = own(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.id(), 1);
  const auto properties = own(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  if (storage.chunk_rows > 0 && !dims.empty() && dims[0] > 0) {
    dims[0] = std::min(dims[0], static_cast<hsize_t>(storage.chunk_rows));
    H5Pset_chunk(properties.id(), static_cast<int>(dims.size()), dims.data());
    if (storage.gzip_level > 0) {
      H5Pset_deflate(properties.id(), static_cast<unsigned>(storage.gzip_level));
    }
  }
  return {checked(H5Dcreate2(file_.id(), name.c_str(), hdf5_type(dtype), space.id(), links.id(),
                             properties.id(), H5P_DEFAULT),
                  H5Dclose, path_, "dataset \"" + name + "\" cannot be created",
                  "Check the name, the chunk size (below 4 GiB) and the free space."),
          path_, name};
}

void Hdf5File::write_array(const std::string& name, const torch::Tensor& values,
                           const Hdf5Storage& storage) {
  create_array(name, values.sizes().vec(), values.scalar_type(), storage).write_rows(0, values);
}

void Hdf5File::set_attribute(const std::string& object, const std::string& key,
                             const std::string& value) {
  const Hdf5Section section;
  const auto type = own(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), std::max<size_t>(1, value.size()));
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  const auto space = own(H5Screate(H5S_SCALAR), H5Sclose);
  const auto attribute = checked(
      H5Acreate_by_name(file_.id(), object.c_str(), key.c_str(), type.id(), space.id(), H5P_DEFAULT,
                        H5P_DEFAULT, H5P_DEFAULT),
      H5Aclose, path_, "attribute \"" + key + "\" cannot be created", "Check the free space.");
  // c_str: an empty value still has one byte to store.
  if (H5Awrite(attribute.id(), type.id(), value.c_str()) < 0) {
    fail(path_, "attribute \"" + key + "\" cannot be written", "Check the free space.");
  }
}

std::optional<std::string> Hdf5File::attribute(const std::string& object,
                                               const std::string& key) const {
  const Hdf5Reading reading(path_, 0);
  if (!has(object) ||
      H5Aexists_by_name(file_.id(), object.c_str(), key.c_str(), H5P_DEFAULT) <= 0) {
    return std::nullopt;
  }
  const auto attribute = own(
      H5Aopen_by_name(file_.id(), object.c_str(), key.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  const auto type = own(H5Aget_type(attribute.id()), H5Tclose);
  if (H5Tget_class(type.id()) != H5T_STRING) return std::nullopt;
  const auto space = own(H5Aget_space(attribute.id()), H5Sclose);
  const int64_t most = files::regular_file_size(path_);
  const auto values = strings_from(type.id(), space.id(), most, [&](hid_t memory, void* out) {
    return H5Aread(attribute.id(), memory, out);
  });
  if (!values) fail(path_, "attribute \"" + key + "\" cannot be read", kDamaged);
  return joined_lines(*values);
}

void Hdf5File::write_strings(const std::string& name, const std::vector<std::string>& values) {
  const Hdf5Section section;
  const auto type = own(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), H5T_VARIABLE);
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  const hsize_t count = values.size();
  const auto space = own(H5Screate_simple(1, &count, nullptr), H5Sclose);
  const auto array = checked(H5Dcreate2(file_.id(), name.c_str(), type.id(), space.id(),
                                        H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                             H5Dclose, path_, "dataset \"" + name + "\" cannot be created",
                             "Check the name and the free space.");
  std::vector<const char*> starts;
  for (const auto& value : values) starts.push_back(value.c_str());
  if (H5Dwrite(array.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, starts.data()) < 0) {
    fail(path_, "dataset \"" + name + "\" cannot be written", "Check the free space.");
  }
}

std::vector<std::string> Hdf5File::read_strings(const std::string& name) const {
  const Hdf5Array opened = array(name);
  const Hdf5Reading reading(path_, opened.info().bytes);
  const Hdf5Handle& array = opened.array_;
  const auto type = own(H5Dget_type(array.id()), H5Tclose);
  if (H5Tget_class(type.id()) != H5T_STRING) {
    throw DataError(path_ + ", dataset \"" + name + "\": type " + type_name(type.id()) +
                    ", expected strings. Store it again as strings.");
  }
  const auto space = own(H5Dget_space(array.id()), H5Sclose);
  const int64_t most = opened.info().bytes;
  const auto values = strings_from(type.id(), space.id(), most, [&](hid_t memory, void* out) {
    return H5Dread(array.id(), memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
  });
  if (!values) fail(path_, "dataset \"" + name + "\" cannot be read", kDamaged);
  return *values;
}

void Hdf5File::copy_missing(Hdf5File& to, Notes& notes) const {
  const Hdf5Reading reading(path_, files::regular_file_size(path_));
  copy_missing_below("/", to, notes);
}

void Hdf5File::copy_missing_below(const std::string& group, Hdf5File& to, Notes& notes) const {
  const int64_t most = files::regular_file_size(path_);
  copy_attributes(file_.id(), to.file_.id(), group, most, notes);
  for (const auto& child : children(group)) {
    const std::string name = (group == "/" ? "" : group) + "/" + child;
    if (!to.has(name)) {
      if (H5Ocopy(file_.id(), name.c_str(), to.file_.id(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT) <
          0) {
        notes.add("objects that could not be copied", name);
      }
    } else if (is_group(name)) {
      copy_missing_below(name, to, notes);
    } else {
      copy_attributes(file_.id(), to.file_.id(), name, most, notes);
    }
  }
}

void Hdf5File::close() {
  const Hdf5Section section;
  const bool flushed = H5Fflush(file_.id(), H5F_SCOPE_GLOBAL) >= 0;
  const std::string reason = flushed ? "" : hdf5_reason();
  file_ = Hdf5Handle();
  if (!flushed) {
    throw DataError(path_ + ": cannot be written (HDF5: " + reason + "). Check the free space.");
  }
}

}  // namespace scorenet::data
