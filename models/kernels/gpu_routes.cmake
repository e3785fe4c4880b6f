# The GPU routes of the U-Net and the transformer, which are chosen at link time, as NCCL is in comm.
#
#   scorenet_gpu_routes(result)        their sources, in place of those whose names end in _absent.cpp, and the object files
#                                      of their kernels; nothing where there is no nvcc
#   scorenet_nvcc_takes_this(result)   whether nvcc is there, knows these architectures and takes the build's C++ compiler
#
# The kernels alone need a compiler of CUDA. It is called by a rule of our own: as a language of the project it would make
# every program that links these models a CUDA program, with a runtime and a link step of its own.
find_program(SCORENET_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH "${CUDAToolkit_ROOT}" /usr/local/cuda PATH_SUFFIXES bin)
mark_as_advanced(SCORENET_NVCC)

function(_scorenet_nvcc_command result)
  # A100; H100; what is newer compiles the PTX when it starts.
  set(${result} "${SCORENET_NVCC}" -std=c++20 -O3 -DNDEBUG -ccbin "${CMAKE_CXX_COMPILER}" -Xcompiler -fPIC,-Wall,-Wextra
    -gencode arch=compute_80,code=sm_80 -gencode "arch=compute_90,code=[sm_90,compute_90]" -I "${CMAKE_SOURCE_DIR}" PARENT_SCOPE)
endfunction()

function(scorenet_gpu_routes result)
  set(${result} "" PARENT_SCOPE)
  if(NOT SCORENET_NVCC)
    return()
  endif()
  _scorenet_nvcc_command(compile)
  set(kernels "${CMAKE_CURRENT_FUNCTION_LIST_DIR}")
  file(GLOB headers CONFIGURE_DEPENDS "${kernels}/*.cuh" "${kernels}/*_kernels.hpp" "${kernels}/*_formulas.hpp")
  file(GLOB sources CONFIGURE_DEPENDS "${kernels}/*.cu")
  set(objects "")
  foreach(source IN LISTS sources)
    get_filename_component(name "${source}" NAME_WE)
    set(object "${CMAKE_CURRENT_BINARY_DIR}/${name}.o")
    add_custom_command(OUTPUT "${object}"
      COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${compile} -c "${source}" -o "${object}"
      DEPENDS "${source}" ${headers} COMMENT "Compiling the GPU routes' ${name}" VERBATIM)
    list(APPEND objects "${object}")
  endforeach()
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set(${result} "${kernels}/channels_last_cuda.cpp" "${kernels}/cuda_calls.cpp" "${kernels}/tokens_cuda.cpp" ${objects}
    PARENT_SCOPE)
endfunction()

function(scorenet_nvcc_takes_this result)
  set(${result} FALSE PARENT_SCOPE)
  if(SCORENET_NVCC)
    _scorenet_nvcc_command(compile)
    execute_process(COMMAND ${compile} -E -x cu /dev/null RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
    if(failed EQUAL 0)
      set(${result} TRUE PARENT_SCOPE)
    endif()
  endif()
endfunction()
