#include "framework/core/build_info.hpp"

namespace scorenet {

std::string build_version() { return SCORENET_VERSION; }

std::string build_options() { return SCORENET_BUILD_OPTIONS; }

std::string build_line() {
  return build_version() + ", commit " + build_commit() + ", " + build_options();
}

}  // namespace scorenet
