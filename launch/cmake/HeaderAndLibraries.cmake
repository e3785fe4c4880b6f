# A package that is found by its header and its libraries, as it brings no package files or none that serve.
#
#   header_and_libraries(LEMON DEBIAN liblemon-dev HEADER lemon/network_simplex.h LIBRARIES lemon|emon TARGET LEMON::lemon)
#
# A library that goes by several names has them with a | between.
# Gives the target, and what find_package promises: NAME_FOUND, or one error that says what to install.
include(FindPackageHandleStandardArgs)

function(header_and_libraries name)
  cmake_parse_arguments(ARG "" "DEBIAN;HEADER;TARGET" "LIBRARIES" ${ARGN})
  find_path(${name}_INCLUDE_DIR "${ARG_HEADER}")
  set(variables ${name}_INCLUDE_DIR)
  set(libraries "")
  foreach(library IN LISTS ARG_LIBRARIES)
    string(REPLACE "|" ";" names "${library}")
    list(GET names 0 first)
    set(variable ${name}_LIBRARY_${first})
    find_library(${variable} NAMES ${names})
    list(APPEND variables ${variable})
    list(APPEND libraries "${${variable}}")
  endforeach()
  mark_as_advanced(${variables})

  find_package_handle_standard_args(${name} REQUIRED_VARS ${variables}
    REASON_FAILURE_MESSAGE "Install ${ARG_DEBIAN} (Debian and Ubuntu) or what your system calls it, or run ./launch/setup.")
  set(${name}_FOUND "${${name}_FOUND}" PARENT_SCOPE)
  if(${name}_FOUND AND NOT TARGET ${ARG_TARGET})
    add_library(${ARG_TARGET} INTERFACE IMPORTED)
    target_include_directories(${ARG_TARGET} INTERFACE "${${name}_INCLUDE_DIR}")
    target_link_libraries(${ARG_TARGET} INTERFACE ${libraries})
  endif()
endfunction()
