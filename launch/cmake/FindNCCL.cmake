# NCCL and the CUDA runtime, from a toolkit or the nvidia-* wheels beside torch. No GPU and no compiler of CUDA needed.
#
# Gives:   NCCL::nccl     both libraries with their headers
# Looked for in NCCL_ROOT, CUDAToolkit_ROOT, the wheels beside LibTorch or in .deps, CUDA_HOME, /usr/local/cuda: what nobody
# has named is what LibTorch itself loads, so that one process never has two versions.
set(_roots "${NCCL_ROOT}" "$ENV{NCCL_ROOT}" "${CUDAToolkit_ROOT}")
file(GLOB _wheels "${LibTorch_DIR_FOUND}/../nvidia/*" "${CMAKE_SOURCE_DIR}/.deps/site/nvidia/*")
list(APPEND _roots ${_wheels} "$ENV{CUDA_HOME}" /usr/local/cuda)

find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${_roots} PATH_SUFFIXES include)
# cuda_runtime_api.h includes this one, which the wheels keep apart (nvidia-cuda-crt).
find_path(CUDA_RUNTIME_INCLUDE_DIR crt/host_defines.h HINTS ${_roots} PATH_SUFFIXES include)
# Wheels have no libnccl.so, only libnccl.so.2.
find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2 NAMES_PER_DIR HINTS ${_roots} PATH_SUFFIXES lib lib64)
find_library(CUDA_RUNTIME_LIBRARY NAMES cudart libcudart.so.13 libcudart.so.12 NAMES_PER_DIR
  HINTS ${_roots} PATH_SUFFIXES lib lib64)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NCCL
  REQUIRED_VARS NCCL_LIBRARY NCCL_INCLUDE_DIR CUDA_RUNTIME_LIBRARY CUDA_RUNTIME_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "Run ./launch/setup --cuda, or give -DNCCL_ROOT=DIR and -DCUDAToolkit_ROOT=DIR.")

if(NCCL_FOUND AND NOT TARGET NCCL::nccl)
  add_library(NCCL::nccl INTERFACE IMPORTED)
  target_include_directories(NCCL::nccl INTERFACE "${NCCL_INCLUDE_DIR}" "${CUDA_RUNTIME_INCLUDE_DIR}")
  target_link_libraries(NCCL::nccl INTERFACE "${NCCL_LIBRARY}" "${CUDA_RUNTIME_LIBRARY}")
endif()
mark_as_advanced(NCCL_LIBRARY NCCL_INCLUDE_DIR CUDA_RUNTIME_LIBRARY CUDA_RUNTIME_INCLUDE_DIR)
