#include "framework/data/hdf5_storage.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>

#include "framework/core/check.hpp"
#include "framework/data/address.hpp"
#include "framework/data/hdf5_call.hpp"
#include "framework/data/virtual_sources.hpp"

namespace scorenet::data {
namespace {

[[noreturn]] void fail_unwritten(const std::string& where, int64_t row) {
  throw DataError(
      where + ": sample " + std::to_string(row) +
      " was never written, and HDF5 would read its fill value. Make the file again if its writer "
      "was interrupted; if the fill value is intended, store it: h5repack -l CONTI IN OUT.");
}

void check_contiguous(const Hdf5ArrayInfo& info, const std::string& where, int64_t file_size) {
  if (info.offset < 0) fail_unwritten(where, 0);
  if (info.bytes <= file_size && info.offset <= file_size - info.bytes) return;
  throw DataError(where + ": ends at byte " + std::to_string(info.offset) + " + " +
                  std::to_string(info.bytes) + ", the file has " + std::to_string(file_size) +
                  ". The file is truncated: copy or make it again.");
}

// Of values that are in the file: bytes that they take at most for one stored, infinity where a
// filter's best is not known.
double most_from_a_byte(hid_t properties) {
  constexpr double kDeflate = 1032;  // zlib, "Maximum compression factor"
  double most = 1;
  const int filters = H5Pget_nfilters(properties);
  for (int i = 0; i < filters; ++i) {
    unsigned flags = 0;
    size_t values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(properties, static_cast<unsigned>(i), &flags,
                                               &values, nullptr, 0, nullptr, nullptr);
    if (filter == H5Z_FILTER_SHUFFLE || filter == H5Z_FILTER_FLETCHER32) continue;
    most *= filter == H5Z_FILTER_DEFLATE ? kDeflate : std::numeric_limits<double>::infinity();
  }
  return most;
}

// Before memory is taken for them.
void check_room(hid_t array, hid_t properties, const Hdf5ArrayInfo& info, const std::string& where,
                int64_t file_size) {
  const auto stored = static_cast<double>(
      std::min<hsize_t>(H5Dget_storage_size(array), static_cast<hsize_t>(file_size)));
  if (static_cast<double>(info.bytes) <= stored * most_from_a_byte(properties)) return;
  throw DataError(where + ": shape " + shape_string(info.shape) + " needs " +
                  std::to_string(info.bytes) +
                  " bytes, more than the stored ones can inflate to. " + kDamaged);
}

// HDF5 does not look at these itself.
void check_chunk_shape(const Hdf5ArrayInfo& info, const std::string& where) {
  const bool sound = info.chunk.size() == info.shape.size() &&
                     std::all_of(info.chunk.begin(), info.chunk.end(), [](int64_t size) {
                       return size >= 1 && size <= std::numeric_limits<uint32_t>::max();
                     });
  if (sound) return;
  throw DataError(where + ": chunks of shape " + shape_string(info.chunk) +
                  ", expected sizes >= 1 for an array of shape " + shape_string(info.shape) + ". " +
                  kDamaged);
}

#if H5_VERSION_GE(1, 10, 5)
// The next chunk's corner after `at`, last axis fastest. False after the last chunk.
bool advance(std::vector<hsize_t>& at, const Hdf5ArrayInfo& info) {
  for (size_t axis = at.size(); axis-- > 0;) {
    at[axis] += static_cast<hsize_t>(info.chunk[axis]);
    if (at[axis] < static_cast<hsize_t>(info.shape[axis])) return true;
    at[axis] = 0;
  }
  return false;
}

[[noreturn]] void fail_at_first_missing(hid_t array, const Hdf5ArrayInfo& info,
                                        const std::string& where) {
  std::vector<hsize_t> at(info.shape.size(), 0);
  do {
    hsize_t bytes = 0;
    if (H5Dget_chunk_storage_size(array, at.data(), &bytes) < 0 || bytes == 0)
      fail_unwritten(where, static_cast<int64_t>(at[0]));
  } while (advance(at, info));
  fail_unwritten(where, 0);
}

void check_chunks(hid_t array, const Hdf5ArrayInfo& info, const std::string& where,
                  int64_t file_size) {
  double expected = 1;  // as floats: a product of what a file merely declares
  for (size_t axis = 0; axis < info.shape.size(); ++axis)
    expected *= static_cast<double>((info.shape[axis] - 1) / info.chunk[axis] + 1);
  // A chunk takes a byte at least, so that more than the file has bytes are not even counted.
  hsize_t stored = 0;
  const auto space = own(H5Dget_space(array), H5Sclose);
  if (expected <= static_cast<double>(file_size) &&
      H5Dget_num_chunks(array, space.id(), &stored) < 0)
    fail(where, "the list of its chunks cannot be read", kDamaged);
  if (static_cast<double>(stored) < expected) fail_at_first_missing(array, info, where);
}
#else
void check_chunks(hid_t, const Hdf5ArrayInfo&, const std::string&, int64_t) {}  // cannot be asked
#endif

std::string external_prefix(hid_t array) {
  const auto access = own(H5Dget_access_plist(array), H5Pclose);
  const ssize_t length = H5Pget_efile_prefix(access.id(), nullptr, 0);
  if (length <= 0) return "";
  std::string prefix(static_cast<size_t>(length) + 1, '\0');
  H5Pget_efile_prefix(access.id(), prefix.data(), prefix.size());
  prefix.resize(static_cast<size_t>(length));
  return prefix;
}

// Raw data in files of their own (H5Pset_external), one after the other.
std::vector<StoredFile> external_files(hid_t array, hid_t properties, const Hdf5ArrayInfo& info,
                                       const std::string& where) {
  constexpr size_t kLongestName = 4096;
  const std::string prefix = external_prefix(array);
  std::vector<StoredFile> files;
  int64_t left = info.bytes;
  const int count = H5Pget_external_count(properties);
  for (int i = 0; i < count && left > 0; ++i) {
    std::string name(kLongestName, '\0');
    off_t offset = 0;
    hsize_t size = 0;
    H5Pget_external(properties, static_cast<unsigned>(i), name.size(), name.data(), &offset, &size);
    name.resize(std::min(name.find('\0'), name.size()));
    const auto part = static_cast<int64_t>(std::min(size, static_cast<hsize_t>(left)));
    const auto path = std::filesystem::path(prefix) / name;  // an absolute name stays as it is
    try {
      files.push_back(look_at_file(path.string()));
    } catch (const DataError& error) {
      throw DataError(
          where + ": its values lie in another file: " + error.what() +
          " Relative names start at the working folder; HDF5_EXTFILE_PREFIX='${ORIGIN}' "
          "makes it the data file's.");
    }
    if (files.back().size < offset || files.back().size - offset < part) {
      throw DataError(where + ": expects " + std::to_string(part) + " bytes at byte " +
                      std::to_string(offset) + " of " + path.string() + ", which has " +
                      std::to_string(files.back().size) + ". Copy or make that file again.");
    }
    left -= part;
  }
  return files;
}

StoredFile file_of(hid_t array, const Hdf5ArrayInfo& info) {
  if (!is_remote(info.file)) return look_at_file(info.file);
  const auto file = own(H5Iget_file_id(array), H5Fclose);
  hsize_t size = 0;
  H5Fget_filesize(file.id(), &size);
  return {info.file, static_cast<int64_t>(size), 0, 0};
}

void append(std::vector<StoredFile>& all, const std::vector<StoredFile>& more) {
  for (const StoredFile& file : more) {
    const auto same = [&](const StoredFile& other) { return other.path == file.path; };
    if (std::none_of(all.begin(), all.end(), same)) all.push_back(file);
  }
}

}  // namespace

std::vector<StoredFile> check_stored(hid_t array, const Hdf5ArrayInfo& info,
                                     const std::string& where, int nesting) {
  std::vector<StoredFile> files{file_of(array, info)};
  if (info.bytes == 0) return files;
  const auto properties = own(H5Dget_create_plist(array), H5Pclose);
  const H5D_layout_t layout = H5Pget_layout(properties.id());
  if (layout == H5D_CHUNKED) {
    check_chunk_shape(info, where);
    check_chunks(array, info, where, files[0].size);
    check_room(array, properties.id(), info, where, files[0].size);
  } else if (layout == H5D_VIRTUAL) {
    append(files, check_sources(properties.id(), info, where, nesting));
  } else if (layout == H5D_CONTIGUOUS && H5Pget_external_count(properties.id()) > 0) {
    append(files, external_files(array, properties.id(), info, where));
  } else if (layout == H5D_CONTIGUOUS) {
    check_contiguous(info, where, files[0].size);
  } else {
    check_room(array, properties.id(), info, where, files[0].size);
  }
  return files;
}

}  // namespace scorenet::data
