// What every call into HDF5 needs: the lock, the reason of a failure, and owned handles. For the
// files of this folder.
#pragma once

#include <mutex>
#include <string>

#include "framework/data/hdf5.hpp"
#include "framework/data/library_guard.hpp"

namespace scorenet::data {

// The one lock for a library that may not be thread-safe. In thread-safe builds the printing of
// errors is a property of each thread, so it is switched off here too, and not once at start.
class Hdf5Section {
 public:
  Hdf5Section() : lock_(mutex()) {
    // At the program's end HDF5 would write once more to files whose writing failed, and crash. The
    // handles of this folder have closed them by then.
    [[maybe_unused]] static const herr_t no_work_at_exit = H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }

 private:
  static std::recursive_mutex& mutex();
  std::lock_guard<std::recursive_mutex> lock_;
};

/// Throws DataError "WHERE: WHAT (HDF5: its own reason). ADVICE".
[[noreturn]] void fail(const std::string& where, const std::string& what,
                       const std::string& advice);

/// Owns `id`. Fails as above if `id` is negative.
Hdf5Handle checked(hid_t id, Hdf5Handle::Close close, const std::string& where,
                   const std::string& what, const std::string& advice);

/// Owns `id`, for calls that fail only when memory is short.
Hdf5Handle own(hid_t id, Hdf5Handle::Close close);

/// The properties of a new array, which notes no time: the same values are the same bytes.
Hdf5Handle new_array_properties();

/// Name of the file that holds an open object. Behind an external link it is not the file that was
/// opened.
std::string file_of_object(hid_t object);

/// "uint8", "float64", "string": as messages print a stored type.
std::string type_name_of(hid_t type);

/// A section in which this file is read, at most `bytes` of it or of its values. Guards against a
/// library that crashes or hangs on damage.
class Hdf5Reading {
 public:
  Hdf5Reading(const std::string& path, int64_t bytes) : guard_(path, most_seconds(bytes)) {}

 private:
  Hdf5Section section_;
  LibraryGuard guard_;
};

inline constexpr const char* kDamaged =
    "The file may be truncated or damaged: compare its size with the original, or make it again.";

}  // namespace scorenet::data
