#include "framework/data/remote_file.hpp"

#include <cstdlib>
#include <cstring>

#include "framework/core/error.hpp"

namespace scorenet::data {

#ifdef H5_HAVE_ROS3_VFD

namespace {

// False where the variable is not set, or too long for the driver.
template <size_t size>
bool copy_variable(const char* name, char (&to)[size]) {
  const char* const value = std::getenv(name);
  if (value == nullptr || std::strlen(value) >= size) return false;
  std::strcpy(to, value);
  return true;
}

}  // namespace

void read_remotely(hid_t access, const std::string& path) {
  H5FD_ros3_fapl_t options{};
  options.version = H5FD_CURR_ROS3_FAPL_T_VERSION;
  options.authenticate = copy_variable("AWS_REGION", options.aws_region) &&
                         copy_variable("AWS_ACCESS_KEY_ID", options.secret_id) &&
                         copy_variable("AWS_SECRET_ACCESS_KEY", options.secret_key);
  if (H5Pset_fapl_ros3(access, &options) < 0)
    throw DataError(path + ": HDF5's driver ros3 cannot be started. Copy the file to a disk.");
}

#else

void read_remotely(hid_t, const std::string& path) {
  throw DataError(path +
                  ": this HDF5 library reads no addresses, expected one with the driver ros3 "
                  "(configured with --enable-ros3-vfd, as Debian's is). Build with such a library, "
                  "or copy the file to a disk.");
}

#endif

}  // namespace scorenet::data
