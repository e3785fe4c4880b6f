# What `cmake --install` leaves: the program in bin/, and a package that other projects find.
#
#   find_package(scorenet COMPONENTS diffusion)          looks for LibTorch alone
#   target_link_libraries(mine PRIVATE scorenet::diffusion)
#   #include "framework/diffusion/schedule.hpp"
#
# A component is a scorenet_library. Without COMPONENTS the package looks for whatever any of them needs.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
set(SCORENET_PACKAGE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/scorenet")

# The packages that a target's libraries come from, as arguments of find_package, by the names that they give to targets.
set(SCORENET_PACKAGE_LibTorch "LibTorch")
if(SCORENET_CUDA)
  set(SCORENET_PACKAGE_LibTorch "LibTorch COMPONENTS CUDA")
endif()
set(SCORENET_PACKAGE_MPI "MPI COMPONENTS CXX")
set(SCORENET_PACKAGE_hdf5 "HDF5 COMPONENTS C")
set(SCORENET_PACKAGE_OpenSSL "OpenSSL COMPONENTS Crypto")

# Sets `result` to what has to be found before `target` can be linked, by way of all that it links.
function(_scorenet_packages target result)
  set(packages "")
  get_target_property(links ${target} LINK_LIBRARIES)
  foreach(link IN LISTS links)
    if(link MATCHES "^scorenet_")
      _scorenet_packages(${link} further)
      list(APPEND packages ${further})
    elseif(link MATCHES "^([A-Za-z0-9_]+)::")
      set(package "${CMAKE_MATCH_1}")
      if(DEFINED SCORENET_PACKAGE_${package})
        set(package "${SCORENET_PACKAGE_${package}}")
      endif()
      list(APPEND packages "${package}")
    elseif(link)
      # A path of this machine would be wrong on the next one.
      message(FATAL_ERROR "${target} links ${link}: link a target of a package, so that users' machines can find their own.")
    endif()
  endforeach()
  list(REMOVE_DUPLICATES packages)
  set(${result} "${packages}" PARENT_SCOPE)
endfunction()

get_property(SCORENET_COMPONENTS GLOBAL PROPERTY SCORENET_COMPONENTS)
set(SCORENET_COMPONENT_PACKAGES "")
foreach(component IN LISTS SCORENET_COMPONENTS)
  _scorenet_packages(scorenet_${component} packages)
  string(APPEND SCORENET_COMPONENT_PACKAGES "set(_scorenet_${component} \"${packages}\")\n")
endforeach()

configure_file(launch/cmake/scorenet-config.cmake.in scorenet-config.cmake @ONLY)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/scorenet-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/scorenet-config.cmake" "${CMAKE_BINARY_DIR}/scorenet-config-version.cmake"
    launch/cmake/FindLEMON.cmake launch/cmake/FindLibTorch.cmake launch/cmake/FindNCCL.cmake launch/cmake/FindWebP.cmake
  DESTINATION "${SCORENET_PACKAGE_DIR}")
install(EXPORT scorenet NAMESPACE scorenet:: FILE scorenet-targets.cmake DESTINATION "${SCORENET_PACKAGE_DIR}")
install(DIRECTORY framework models DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/scorenet" FILES_MATCHING PATTERN "*.hpp")
install(TARGETS scorenet DESTINATION "${CMAKE_INSTALL_BINDIR}")
