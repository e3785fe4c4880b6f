# The shapes of target this project has, so that a folder's CMakeLists.txt says only what is in it.
#
#   scorenet_library(diffusion SOURCES a.cpp b.cpp LINKS scorenet_core)      one layer: links only what it may know;
#                                                                            installed as scorenet::diffusion
#   scorenet_test(schedule_test [LINKS ...] [SOURCES extra.cpp])             schedule_test.cpp, one process
#   scorenet_mpi_test(process_group_test RANKS 1 2 4 [LINKS ...])            the same program under mpirun, once a count
#   scorenet_variant(scorenet_away SOURCES x.cpp [LINKS ...])                the program, its parts replaced by those given
#   scorenet_benchmark(all_reduce [LINKS ...])                               benchmarks/all_reduce.cpp

# One precompiled header for all targets. torch/types.h (tensors), not torch/torch.h: whoever loads the latter instantiates its
# pending templates again, 5 s a file (1.8 s instead of 7.7 s for a sampler). Networks include the modules they use.
add_library(scorenet_pch STATIC "${CMAKE_SOURCE_DIR}/launch/cmake/pch.cpp")
target_link_libraries(scorenet_pch PUBLIC LibTorch::cpu)
target_precompile_headers(scorenet_pch PRIVATE <torch/types.h>)

include(GNUInstallDirs)
# An installed program finds LibTorch, and NCCL with CUDA, where the build found them. CMAKE_INSTALL_RPATH_USE_LINK_PATH would
# leave out what lies within this source tree, and .deps/ does.
foreach(_library IN ITEMS "${LibTorch_CPU_LIBRARY}" "${NCCL_LIBRARY}" "${CUDA_RUNTIME_LIBRARY}")
  get_filename_component(_folder "${_library}" DIRECTORY)
  if(_library AND NOT _folder IN_LIST CMAKE_INSTALL_RPATH)
    list(APPEND CMAKE_INSTALL_RPATH "${_folder}")
  endif()
endforeach()

set(SCORENET_WARNINGS -Wall -Wextra -Wshadow -Wconversion)

function(_scorenet_common target)
  target_include_directories(${target} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_compile_options(${target} PRIVATE ${SCORENET_WARNINGS})
  get_target_property(type ${target} TYPE)
  if(SCORENET_SANITIZE AND type STREQUAL "EXECUTABLE")
    target_sources(${target} PRIVATE "${CMAKE_SOURCE_DIR}/tests/support/sanitizers.cpp")
    set_source_files_properties("${CMAKE_SOURCE_DIR}/tests/support/sanitizers.cpp" PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  endif()
endfunction()

# NO_TORCH: the layer knows nothing of tensors, and is not given their headers. INTERNAL: not installed (Package.cmake).
# ALONE: sources that SCORENET_UNITY must not compile with others: two share a name of their own, or tests put another in its place.
function(scorenet_library name)
  cmake_parse_arguments(ARG "NO_TORCH;INTERNAL" "" "SOURCES;LINKS;ALONE" ${ARGN})
  add_library(scorenet_${name} STATIC ${ARG_SOURCES})
  add_library(scorenet::${name} ALIAS scorenet_${name})
  _scorenet_common(scorenet_${name})
  if(NOT ARG_INTERNAL)
    set_property(GLOBAL APPEND PROPERTY SCORENET_COMPONENTS ${name})
    set_target_properties(scorenet_${name} PROPERTIES EXPORT_NAME ${name})
    target_compile_features(scorenet_${name} PUBLIC cxx_std_20)
    install(TARGETS scorenet_${name} EXPORT scorenet INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/scorenet")
  endif()
  target_link_libraries(scorenet_${name} PUBLIC ${ARG_LINKS})
  if(NOT ARG_NO_TORCH)
    target_link_libraries(scorenet_${name} PUBLIC LibTorch::cpu)
    # As in our own build: without it some of LibTorch's classes would differ from those in its libraries and in ours.
    target_compile_definitions(scorenet_${name} INTERFACE $<INSTALL_INTERFACE:NDEBUG>)
    target_precompile_headers(scorenet_${name} REUSE_FROM scorenet_pch)
    # LibTorch's headers are most of a file's compile time: eight files read them once.
    set_target_properties(scorenet_${name} PROPERTIES UNITY_BUILD ${SCORENET_UNITY} UNITY_BUILD_BATCH_SIZE 8)
    if(SCORENET_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # warns of anonymous namespaces in whatever is not the file compiled
      target_compile_options(scorenet_${name} PRIVATE -Wno-subobject-linkage)
    endif()
    set_source_files_properties(${ARG_ALONE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  endif()
endfunction()

function(_scorenet_test_program name)
  cmake_parse_arguments(ARG "NO_TORCH" "" "SOURCES;LINKS;RANKS" ${ARGN})
  add_executable(${name} ${name}.cpp ${ARG_SOURCES})
  _scorenet_common(${name})
  target_link_libraries(${name} PRIVATE ${ARG_LINKS})
  if(NOT ARG_NO_TORCH)
    target_link_libraries(${name} PRIVATE LibTorch::cpu)
    target_precompile_headers(${name} REUSE_FROM scorenet_pch)
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
endfunction()

# Its messages, and those of what it starts, are noted (tests/support/record_messages.cpp). A sanitizer wants to be loaded first.
function(scorenet_record_messages test name)
  set_property(GLOBAL APPEND PROPERTY SCORENET_RECORDED ${test})
  if(NOT SCORENET_SANITIZE)
    if(TARGET ${name})
      add_dependencies(${name} scorenet_record_messages)
    endif()
    set_property(TEST ${test} APPEND PROPERTY ENVIRONMENT "LD_PRELOAD=$<TARGET_FILE:scorenet_record_messages>"
      "SCORENET_TEST=${name}" "SCORENET_MESSAGES=${CMAKE_BINARY_DIR}/Testing/messages")
  endif()
endfunction()

function(scorenet_test name)
  if(NOT SCORENET_TESTS)
    return()
  endif()
  _scorenet_test_program(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY "${CMAKE_BINARY_DIR}")
  set_tests_properties(${name} PROPERTIES TIMEOUT 900)
  scorenet_record_messages(${name} ${name})
endfunction()

# The program brings its own main (tests/support/mpi_main.cpp): it prints on rank zero and agrees on the exit code.
function(scorenet_mpi_test name)
  if(NOT SCORENET_TESTS)
    return()
  endif()
  cmake_parse_arguments(MPI_TEST "NO_TORCH" "" "RANKS;LINKS;SOURCES" ${ARGN})
  _scorenet_test_program(${name} ${ARGN})
  target_sources(${name} PRIVATE "${CMAKE_SOURCE_DIR}/tests/support/mpi_main.cpp")
  target_link_libraries(${name} PRIVATE GTest::gmock GTest::gtest MPI::MPI_CXX)
  foreach(ranks IN LISTS MPI_TEST_RANKS)
    add_test(NAME ${name}_${ranks}ranks
      COMMAND ${MPIEXEC_EXECUTABLE} --oversubscribe -n ${ranks} $<TARGET_FILE:${name}>
      WORKING_DIRECTORY "${CMAKE_BINARY_DIR}")
    # A hang is a failure. Two cores are enough for one such test at a time.
    set_tests_properties(${name}_${ranks}ranks PROPERTIES TIMEOUT 120 PROCESSORS 2
      ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMP_NUM_THREADS=1")
    scorenet_record_messages(${name}_${ranks}ranks ${name})
  endforeach()
endfunction()

# What SOURCES define is linked in place of what the libraries hold.
function(scorenet_variant name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} "${CMAKE_SOURCE_DIR}/launch/main.cpp"
    "${CMAKE_SOURCE_DIR}/launch/early_start.cpp" ${ARG_SOURCES})
  _scorenet_common(${name})
  target_link_libraries(${name} PRIVATE scorenet_train_verbs scorenet_verbs ${ARG_LINKS})
  target_precompile_headers(${name} REUSE_FROM scorenet_pch)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
endfunction()

function(scorenet_benchmark name)
  if(NOT SCORENET_BENCHMARKS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "LINKS" ${ARGN})
  add_executable(${name}_benchmark ${name}.cpp)
  _scorenet_common(${name}_benchmark)
  target_link_libraries(${name}_benchmark PRIVATE LibTorch::cpu ${ARG_LINKS})
  target_precompile_headers(${name}_benchmark REUSE_FROM scorenet_pch)
  set_target_properties(${name}_benchmark PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/benchmarks")
endfunction()
