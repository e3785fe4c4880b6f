// Texts and what hangs on objects: attributes, arrays of strings, and their copies in another file.
#include <algorithm>
#include <utility>

#include "framework/data/hdf5.hpp"
#include "framework/data/hdf5_call.hpp"
#include "framework/files/regular_file.hpp"

namespace scorenet::data {
namespace {

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

// The attribute of an object that is there; nothing where it has none of that name.
std::optional<Hdf5Handle> open_attribute(hid_t file, const std::string& object,
                                         const std::string& key) {
  if (H5Aexists_by_name(file, object.c_str(), key.c_str(), H5P_DEFAULT) <= 0) return std::nullopt;
  return own(H5Aopen_by_name(file, object.c_str(), key.c_str(), H5P_DEFAULT, H5P_DEFAULT),
             H5Aclose);
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
  if (!has(object)) return std::nullopt;
  const auto attribute = open_attribute(file_.id(), object, key);
  if (!attribute) return std::nullopt;
  const auto type = own(H5Aget_type(attribute->id()), H5Tclose);
  if (H5Tget_class(type.id()) != H5T_STRING) return std::nullopt;
  const auto space = own(H5Aget_space(attribute->id()), H5Sclose);
  const int64_t most = bytes();
  const auto values = strings_from(type.id(), space.id(), most, [&](hid_t memory, void* out) {
    return H5Aread(attribute->id(), memory, out);
  });
  if (!values) fail(path_, "attribute \"" + key + "\" cannot be read", kDamaged);
  return joined_lines(*values);
}

std::optional<double> Hdf5File::number_attribute(const std::string& object,
                                                 const std::string& key) const {
  const Hdf5Reading reading(path_, 0);
  if (!has(object)) return std::nullopt;
  const auto attribute = open_attribute(file_.id(), object, key);
  if (!attribute) return std::nullopt;
  const auto type = own(H5Aget_type(attribute->id()), H5Tclose);
  const auto space = own(H5Aget_space(attribute->id()), H5Sclose);
  const H5T_class_t kind = H5Tget_class(type.id());
  double value = 0;
  if ((kind != H5T_INTEGER && kind != H5T_FLOAT) || H5Sget_simple_extent_npoints(space.id()) != 1 ||
      H5Aread(attribute->id(), H5T_NATIVE_DOUBLE, &value) < 0)
    return std::nullopt;
  return value;
}

void Hdf5File::write_strings(const std::string& name, const std::vector<std::string>& values) {
  const Hdf5Section section;
  const auto type = own(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), H5T_VARIABLE);
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  const hsize_t count = values.size();
  const auto space = own(H5Screate_simple(1, &count, nullptr), H5Sclose);
  const auto properties = new_array_properties();
  const auto array = checked(H5Dcreate2(file_.id(), name.c_str(), type.id(), space.id(),
                                        H5P_DEFAULT, properties.id(), H5P_DEFAULT),
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
    throw DataError(path_ + ", dataset \"" + name + "\": type " + type_name_of(type.id()) +
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
  const Hdf5Reading reading(path_, bytes());
  copy_missing_below("/", to, notes);
}

void Hdf5File::copy_missing_below(const std::string& group, Hdf5File& to, Notes& notes) const {
  const int64_t most = bytes();
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

}  // namespace scorenet::data
