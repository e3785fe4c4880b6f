# Run by cpack on the folder that it packs: makes it work wherever it is unpacked.
#
#   bin/scorenet                 finds LibTorch and starts the program (scorenet.sh.in)
#   libexec/scorenet/scorenet    the program
#   lib/scorenet/                what a machine may lack: HDF5, decoders of pictures, ...
#   lib/scorenet/mpi/            Open MPI, for machines without it: enough for one process
cmake_minimum_required(VERSION 3.22)
set(folder "${CPACK_TEMPORARY_INSTALL_DIRECTORY}")
set(program "${folder}/libexec/scorenet/scorenet")
file(MAKE_DIRECTORY "${folder}/libexec/scorenet" "${folder}/lib/scorenet/mpi")
file(RENAME "${folder}/bin/scorenet" "${program}")

# Of every machine that has a C++ program at all, and LibTorch's own.
set(everywhere "^(ld-linux|linux-vdso|libc|libm|libdl|librt|libutil|libresolv|libpthread|libstdc\\+\\+|libgcc_s)[.-]")
set(of_libtorch "^lib(torch|c10|cud|cup|nv|nccl|gomp)")
function(libraries result)
  file(GET_RUNTIME_DEPENDENCIES EXECUTABLES "${program}" RESOLVED_DEPENDENCIES_VAR found
    UNRESOLVED_DEPENDENCIES_VAR missing CONFLICTING_DEPENDENCIES_PREFIX conflict
    PRE_EXCLUDE_REGEXES "${everywhere}" "${of_libtorch}" ${ARGN})
  foreach(name IN LISTS conflict_FILENAMES)
    list(GET conflict_${name} 0 first)
    list(APPEND found "${first}")
  endforeach()
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

libraries(without_mpi "^libmpi" "^libopen-")
libraries(all)
foreach(library IN LISTS all)
  get_filename_component(name "${library}" NAME)
  if(library IN_LIST without_mpi)
    file(COPY_FILE "${library}" "${folder}/lib/scorenet/${name}")
  else()
    file(COPY_FILE "${library}" "${folder}/lib/scorenet/mpi/${name}")
  endif()
endforeach()

# After that: with this run path alone the program's libraries are not found.
file(RPATH_SET FILE "${program}" NEW_RPATH "\$ORIGIN/../../lib/scorenet")
configure_file("${CPACK_SCORENET_WRAPPER}" "${folder}/bin/scorenet" COPYONLY)
file(CHMOD "${folder}/bin/scorenet" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
  GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
