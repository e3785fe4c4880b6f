# What `cmake --install` leaves: the program in bin/, its scripts and configs in share/scorenet/, and a package that other
# projects find.
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
    string(REGEX REPLACE "^\\$<LINK_ONLY:(.*)>$" "\\1" link "${link}")
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
    launch/cmake/FindLEMON.cmake launch/cmake/FindLibTorch.cmake launch/cmake/FindLibZip.cmake launch/cmake/FindNCCL.cmake
    launch/cmake/FindWebP.cmake launch/cmake/HeaderAndLibraries.cmake
  DESTINATION "${SCORENET_PACKAGE_DIR}")
install(EXPORT scorenet NAMESPACE scorenet:: FILE scorenet-targets.cmake DESTINATION "${SCORENET_PACKAGE_DIR}")
install(DIRECTORY framework models DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/scorenet" FILES_MATCHING PATTERN "*.hpp")

# The component `program` is what cpack packs (Archive.cmake). The scripts find the program from where they are.
set(SCORENET_SHARE "${CMAKE_INSTALL_DATAROOTDIR}/scorenet")
install(TARGETS scorenet DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT program)
install(PROGRAMS launch/train_mpirun.sh launch/train.sbatch launch/evaluate.sbatch
  DESTINATION "${SCORENET_SHARE}/launch" COMPONENT program)
install(FILES launch/common.sh launch/restart.sh DESTINATION "${SCORENET_SHARE}/launch" COMPONENT program)
install(DIRECTORY configs DESTINATION "${SCORENET_SHARE}" COMPONENT program FILES_MATCHING PATTERN "*.toml" PATTERN figures EXCLUDE)
install(FILES LICENSE README.md DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT program)
# Completion and man pages, where a build has made them: man/man1/scorenet.1, bash-completion/completions/scorenet.
install(DIRECTORY "${CMAKE_BINARY_DIR}/share/" DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}" COMPONENT program OPTIONAL)
