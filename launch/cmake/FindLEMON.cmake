# LEMON, whose network simplex solves exact optimal transport (Debian: liblemon-dev).
#
# Gives:   LEMON::lemon
find_path(LEMON_INCLUDE_DIR lemon/network_simplex.h)
find_library(LEMON_LIBRARY NAMES lemon emon)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LEMON REQUIRED_VARS LEMON_LIBRARY LEMON_INCLUDE_DIR)

if(LEMON_FOUND AND NOT TARGET LEMON::lemon)
  add_library(LEMON::lemon INTERFACE IMPORTED)
  target_include_directories(LEMON::lemon INTERFACE "${LEMON_INCLUDE_DIR}")
  target_link_libraries(LEMON::lemon INTERFACE "${LEMON_LIBRARY}")
endif()
mark_as_advanced(LEMON_INCLUDE_DIR LEMON_LIBRARY)
