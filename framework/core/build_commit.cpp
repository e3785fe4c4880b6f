// Of every program but scorenet.
#include "framework/core/build_info.hpp"

namespace scorenet {

std::string build_commit() { return "unknown"; }

}  // namespace scorenet
