#include "framework/data/hdf5.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "framework/core/check.hpp"
#include "framework/data/hdf5_array_info.hpp"
#include "framework/data/hdf5_call.hpp"
#include "framework/data/hdf5_links.hpp"
#include "framework/data/hdf5_storage.hpp"
#include "framework/data/remote_file.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::data {
namespace {

// Reasons of the system come with a time, a file descriptor and an address, over several lines:
// "file write failed: time = ..., error message = 'No space left on device', buf = 0x...".
std::string in_a_sentence(const std::string& reason) {
  const std::string key = "error message = '";
  const size_t begin = reason.find(key);
  const size_t end = begin == std::string::npos ? begin : reason.find('\'', begin + key.size());
  if (end == std::string::npos) return reason;
  return reason.substr(0, reason.find(':')) + ": " +
         reason.substr(begin + key.size(), end - begin - key.size());
}

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
  return reason.empty() ? "no reason given" : in_a_sentence(reason);
}

// "CDF" and a version: the form before netCDF-4.
bool is_classic_netcdf(const std::string& path) {
  char start[4] = {};
  std::ifstream(path, std::ios::binary).read(start, sizeof start);
  return std::string(start, 3) == "CDF" && (start[3] == 1 || start[3] == 2 || start[3] == 5);
}

void check_readable(const std::string& path) {
  const std::string unreadable = files::unreadable_because(path);
  if (unreadable == "no such file") {
    throw DataError(path +
                    ": no such file. Make one with `scorenet data convert`, or check data.path.");
  }
  if (!unreadable.empty()) {
    throw DataError(path + ": " + unreadable +
                    ", expected a readable HDF5 file. Check the path and its permissions.");
  }
}

// Selections of a region: {in memory, in the file}.
std::pair<Hdf5Handle, Hdf5Handle> select(hid_t array, const std::vector<Places>& region) {
  std::vector<hsize_t> start, stride, count;
  for (const Places& places : region) {
    start.push_back(static_cast<hsize_t>(places.first));
    stride.push_back(static_cast<hsize_t>(places.step));
    count.push_back(static_cast<hsize_t>(places.count));
  }
  auto file = own(H5Dget_space(array), H5Sclose);
  H5Sselect_hyperslab(file.id(), H5S_SELECT_SET, start.data(), stride.data(), count.data(),
                      nullptr);
  auto memory =
      own(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose);
  return {std::move(memory), std::move(file)};
}

// `count` rows at `first`, whole.
std::vector<Places> rows_of(const std::vector<int64_t>& shape, int64_t first, int64_t count) {
  std::vector<Places> region;
  for (const int64_t size : shape) region.push_back({0, size, 1});
  region[0] = {first, count, 1};
  return region;
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

Hdf5Handle new_array_properties() {
  auto properties = own(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties.id(), false);
  return properties;
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
  info_ = array_info_of(array_.id(), where());
}

std::string array_text(const std::string& path, const std::string& name,
                       const Hdf5ArrayInfo& info) {
  const bool elsewhere = !info.file.empty() && info.file != path;
  return path + ", dataset \"" + name + "\"" + (elsewhere ? " (in " + info.file + ")" : "");
}

std::string Hdf5Array::where() const { return array_text(path_, name_, info_); }

torch::Tensor Hdf5Array::read_rows(int64_t first, int64_t count, torch::Dtype dtype) const {
  if (info_.shape.empty() || first < 0 || count < 0 || first + count > rows()) {
    throw DataError(where() + ": rows " + std::to_string(first) + " to " +
                    std::to_string(first + count) + " asked for, shape " +
                    shape_string(info_.shape) + ". Ask for rows that exist.");
  }
  return read_region(rows_of(info_.shape, first, count), dtype);
}

torch::Tensor Hdf5Array::read_region(const std::vector<Places>& region, torch::Dtype dtype) const {
  std::vector<int64_t> shape;
  for (const Places& places : region) shape.push_back(places.count);
  torch::Tensor values = torch::empty(shape, dtype);
  if (values.numel() == 0) return values;
  const Hdf5Reading reading(path_, info_.bytes);
  const auto [memory, file] = select(array_.id(), region);
  if (H5Dread(array_.id(), hdf5_type(dtype), memory.id(), file.id(), H5P_DEFAULT,
              values.data_ptr()) < 0) {
    check_not_shrunk(files_);
    fail(where(),
         "rows " + std::to_string(region[0].first) + " to " +
             std::to_string(region[0].at(region[0].count)) + " of type " + info_.type_name +
             " cannot be read",
         kDamaged);
  }
  check_not_shrunk(files_);
  return values;
}

#if H5_VERSION_GE(1, 10, 3)
std::vector<char> Hdf5Array::read_chunk(const std::vector<int64_t>& corner, size_t bytes,
                                        uint32_t& left_out) const {
  const std::vector<hsize_t> at(corner.begin(), corner.end());
  const Hdf5Reading reading(path_, static_cast<int64_t>(bytes));
  hsize_t stored = 0;
  // What deflate makes longer than this HDF5 would have stored as it was.
  const bool sound = H5Dget_chunk_storage_size(array_.id(), at.data(), &stored) >= 0 &&
                     stored <= bytes + bytes / 64 + 1024;
  std::vector<char> values(sound ? stored : 0);
  if (!sound || H5Dread_chunk(array_.id(), H5P_DEFAULT, at.data(), &left_out, values.data()) < 0) {
    check_not_shrunk(files_);
    fail(where(), "the chunk at " + shape_string(corner) + " cannot be read", kDamaged);
  }
  check_not_shrunk(files_);
  return values;
}
#else
std::vector<char> Hdf5Array::read_chunk(const std::vector<int64_t>&, size_t, uint32_t&) const {
  throw DataError(where() + ": this HDF5 library cannot read chunks as they are stored.");
}
#endif

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
  const auto [memory, file] = select(array_.id(), rows_of(info_.shape, first, rows.size(0)));
  if (H5Dwrite(array_.id(), hdf5_type(values.scalar_type()), memory.id(), file.id(), H5P_DEFAULT,
               values.data_ptr()) < 0) {
    fail(where(), "cannot be written", "Check the free space.");
  }
}

Hdf5File::Hdf5File(Hdf5Handle file, std::string path)
    : file_(std::move(file)), path_(std::move(path)) {}

Hdf5File Hdf5File::open(const std::string& path) {
  const Hdf5Reading reading(path, 0);
  if (!is_remote(path)) check_readable(path);
  const auto access = own(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
#if H5_VERSION_GE(1, 10, 7)
  H5Pset_file_locking(access.id(), false, true);
#endif
  if (is_remote(path)) read_remotely(access.id(), path);
  Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose);
  if (file.valid()) return {std::move(file), path};
  const std::string reason = hdf5_reason();
  if (is_remote(path)) {
    throw DataError(path + ": cannot be opened (HDF5: " + reason +
                    "). Check the address, that the server answers requests for ranges of bytes, "
                    "and AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where it asks "
                    "for them.");
  }
  if (is_classic_netcdf(path)) {
    throw DataError(path +
                    ": is a classic netCDF-3 file, expected HDF5 or netCDF-4, which is HDF5. Make "
                    "one of it with nccopy -k nc4 IN OUT.");
  }
  if (H5Fis_hdf5(path.c_str()) <= 0) {
    throw DataError(path +
                    ": expected an HDF5 file, found something else. Make one with "
                    "`scorenet data convert`.");
  }
  if (reason.find("already open for write") != std::string::npos) {
    throw DataError(path +
                    ": another program has it open for writing, or was interrupted while it wrote. "
                    "Wait until it has closed the file; if none is at work, check what it holds "
                    "after h5clear -s.");
  }
  throw DataError(path + ": cannot be opened (HDF5: " + reason + "). " + kDamaged);
}

int64_t Hdf5File::bytes() const {
  if (!is_remote(path_)) return files::regular_file_size(path_);
  const Hdf5Section section;
  hsize_t size = 0;
  return H5Fget_filesize(file_.id(), &size) < 0 ? 0 : static_cast<int64_t>(size);
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
  const Hdf5Reading reading(path_, bytes());
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

Hdf5Array Hdf5File::open_array(const std::string& name) const {
  if (is_group(name)) {
    throw DataError(path_ + ": \"" + name +
                    "\" is a group, expected a dataset. Name one of those " +
                    "in it; `scorenet data info` or h5ls -r list them.");
  }
  const auto access = careful_access(H5P_DATASET_ACCESS);
  Hdf5Array array(checked(H5Dopen2(file_.id(), name.c_str(), access.id()), H5Dclose, path_,
                          "\"" + name + "\" is not a readable dataset", kDamaged),
                  path_, name);
  if (!array.info_.missing_filter.empty()) {
    throw DataError(array.where() + ": compressed with " + array.info_.missing_filter +
                    ", which this HDF5 library lacks. Put its plugin into a folder that "
                    "HDF5_PLUGIN_PATH names (Blosc and Zstd: PyPI's hdf5plugin has them), or store "
                    "the file again without it (h5repack -f GZIP=1).");
  }
  return array;
}

Hdf5Array Hdf5File::array(const std::string& name, int nesting) const {
  const Hdf5Reading reading(path_, bytes());
  if (!has(name)) {
    const std::string link = broken_link(name);
    throw DataError(path_ + ": no dataset \"" + name + "\"" + (link.empty() ? "" : "; " + link) +
                    ". Look at what the file holds with `scorenet data info` or h5ls -r.");
  }
  Hdf5Array array = open_array(name);
  array.files_ = check_stored(array.array_.id(), array.info_, array.where(), nesting);
  return array;
}

Hdf5Array Hdf5File::known_array(const std::string& name, std::vector<StoredFile> files) const {
  const Hdf5Reading reading(path_, bytes());
  Hdf5Array array = open_array(name);
  array.files_ = std::move(files);
  return array;
}

std::optional<Hdf5ArrayInfo> Hdf5File::look_at(const std::string& name) const {
  const Hdf5Reading reading(path_, bytes());
  const auto access = careful_access(H5P_DATASET_ACCESS);
  Hdf5Handle array(H5Dopen2(file_.id(), name.c_str(), access.id()), H5Dclose);
  if (!array.valid()) return std::nullopt;
  return Hdf5Array(std::move(array), path_, name).info();
}

Hdf5Array Hdf5File::create_array(const std::string& name, const std::vector<int64_t>& shape,
                                 torch::Dtype dtype, const Hdf5Storage& storage) {
  const Hdf5Section section;
  std::vector<hsize_t> dims(shape.begin(), shape.end());
  const auto space =
      own(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose);
  const auto links = own(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.id(), 1);
  const auto properties = new_array_properties();
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
