// HDF5 through owning handles and checked calls: every failure is a DataError that names the path,
// the array and the shapes.
//
// The library may be built without thread safety, so every call here runs under one process-wide
// lock; HDF5's own error printing is off. Files are opened read-only and without file locks: a
// training file is never changed, and many network file systems refuse locks. (H5Pset_file_locking,
// HDF5 >= 1.10.7. An HDF5_USE_FILE_LOCKING in the environment overrides it; with an older library
// that variable is the only way.)
#pragma once

#include <hdf5.h>
#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/core/error.hpp"
#include "framework/data/index_range.hpp"
#include "framework/data/notes.hpp"
#include "framework/data/stored_file.hpp"

namespace scorenet::data {

/// Owns one HDF5 identifier and closes it. Move-only.
class Hdf5Handle {
 public:
  using Close = herr_t (*)(hid_t);

  Hdf5Handle() = default;
  Hdf5Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept;
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept;
  ~Hdf5Handle();

  hid_t id() const { return id_; }
  bool valid() const { return id_ >= 0; }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

/// What a file says about one array.
struct Hdf5ArrayInfo {
  std::vector<int64_t> shape;
  std::string type_name;  // "uint8", "float64", "string": as messages print it
  // the tensor type that holds it exactly; none for strings and the like
  std::optional<torch::Dtype> dtype;
  bool bytes_are_native = false;  // the file's bytes are the tensor's bytes
  std::vector<int64_t> chunk;     // empty: not chunked
  bool compressed = false;
  std::vector<std::string> filters = {};  // "gzip 4", "shuffle", "filter 32015 (zstd)", in order
  std::string missing_filter = {};        // the first of them that this HDF5 library lacks
  int64_t offset = -1;  // where a contiguous array begins in `file`; -1: it is not contiguous
  int64_t bytes = 0;    // of all values
  std::string file;     // the file that holds the array: behind an external link, another one
};

/// "FILE.h5, dataset "/train/images"": how a message about an array begins; path: of the file that
/// was opened. Names the file that holds the array, too.
std::string array_text(const std::string& path, const std::string& name, const Hdf5ArrayInfo& info);

/// An array inside an open file. Keeps the file alive.
class Hdf5Array {
 public:
  /// path: of the file that was opened.
  Hdf5Array(Hdf5Handle array, std::string path, std::string name);

  const Hdf5ArrayInfo& info() const { return info_; }
  int64_t rows() const { return info_.shape.empty() ? 1 : info_.shape[0]; }
  /// All files that hold values of the array, if it was opened for reading.
  const std::vector<StoredFile>& files() const { return files_; }

  /// Rows [first, first + count), converted to `dtype` by HDF5: (count, ...). Throws DataError if
  /// they cannot be read (damaged file, missing filter), a file has become shorter, or the element
  /// types do not convert.
  torch::Tensor read_rows(int64_t first, int64_t count, torch::Dtype dtype) const;
  /// The values at these places of each axis; otherwise as read_rows. REQUIRES at least one axis,
  /// and places that lie in the array.
  torch::Tensor read_region(const std::vector<Places>& region, torch::Dtype dtype) const;
  /// The stored bytes of a chunk, still filtered; bytes: its size after decoding. left_out: a bit
  /// for each filter that was not applied. Thread-safe. Throws DataError.
  std::vector<char> read_chunk(const std::vector<int64_t>& corner, size_t bytes,
                               uint32_t& left_out) const;
  /// The whole array, any shape, scalars included.
  torch::Tensor read_all(torch::Dtype dtype) const;
  /// `rows` (count, ...) at row `first`. The array must come from create_array.
  void write_rows(int64_t first, const torch::Tensor& rows);

  /// array_text of it, to begin a message.
  std::string where() const;

 private:
  friend class Hdf5File;

  Hdf5Handle array_;
  std::string path_;
  std::string name_;
  Hdf5ArrayInfo info_;
  std::vector<StoredFile> files_;
};

/// How a new array is stored. chunk_rows 0: contiguous, which a reader can map; gzip needs chunks.
struct Hdf5Storage {
  int64_t chunk_rows = 0;
  int gzip_level = 0;  // 0: none; 1 to 9
};

class Hdf5File {
 public:
  /// Read-only; path: of a file, or an address (remote_file.hpp). Throws DataError: missing, not
  /// HDF5, or truncated or damaged.
  static Hdf5File open(const std::string& path);
  /// A new, empty file; an existing one is overwritten. Throws DataError.
  static Hdf5File create(const std::string& path);

  const std::string& path() const { return path_; }
  /// Size of the file.
  int64_t bytes() const;
  bool has(const std::string& name) const;
  /// Why `name` is missing although it, or a group above it, is a link: "/train is an external link
  /// to "/x" in t.h5 (no such file)". Empty if there is no such link.
  std::string broken_link(const std::string& name) const;
  /// Names inside a group ("/" or "/train"), sorted.
  std::vector<std::string> children(const std::string& group) const;
  bool is_group(const std::string& name) const;

  /// Opens an array for reading. Throws DataError if it is missing or not every value of it is
  /// stored (hdf5_storage.hpp). nesting: how many virtual data sets lead here.
  Hdf5Array array(const std::string& name, int nesting = 0) const;
  /// The same for an array that was found whole before, with its values in these files: what is
  /// stored is not checked again.
  Hdf5Array known_array(const std::string& name, std::vector<StoredFile> files) const;
  /// What the file says about an array, whether or not its values can be read. Nothing if there is
  /// no such array.
  std::optional<Hdf5ArrayInfo> look_at(const std::string& name) const;
  /// Missing groups on the way are made. dtype: uint8, int32, int64, float32 or float64.
  Hdf5Array create_array(const std::string& name, const std::vector<int64_t>& shape,
                         torch::Dtype dtype, const Hdf5Storage& storage = {});
  /// create_array and write_rows in one.
  void write_array(const std::string& name, const torch::Tensor& values,
                   const Hdf5Storage& storage = {});

  void set_attribute(const std::string& object, const std::string& key, const std::string& value);
  /// A string attribute of fixed or variable length, if there is one; several strings are joined by
  /// line breaks.
  std::optional<std::string> attribute(const std::string& object, const std::string& key) const;

  /// A numeric attribute of one value, if there is one: netCDF's _FillValue.
  std::optional<double> number_attribute(const std::string& object, const std::string& key) const;

  /// A one-dimensional array of UTF-8 strings: unlike an attribute it may be longer than 64 KiB.
  void write_strings(const std::string& name, const std::vector<std::string>& values);
  /// Reads an array of strings of fixed or variable length. Throws DataError for another type.
  std::vector<std::string> read_strings(const std::string& name) const;

  /// Copies every attribute and every object that `to` does not have yet, as it is stored.
  /// Notes what cannot be copied, such as references into this file.
  void copy_missing(Hdf5File& to, Notes& notes) const;

  /// Writes everything out and closes. Throws DataError (a full disk shows only here). Call before
  /// the file is used.
  void close();

 private:
  Hdf5File(Hdf5Handle file, std::string path);
  Hdf5Array open_array(const std::string& name) const;
  void copy_missing_below(const std::string& group, Hdf5File& to, Notes& notes) const;

  Hdf5Handle file_;
  std::string path_;
};

}  // namespace scorenet::data
