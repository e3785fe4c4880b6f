# LibTorch as imported targets, from any wheel or LibTorch folder, with no CUDA toolkit.
#
# The find module that ships with the wheel demands the CUDA toolkit it was built with and rejects C++20 under
# CMake 3.25; the CPU libraries need neither. Looked for in LIBTORCH_DIR (CMake or environment), where launch/setup found it
# (.deps/env.sh, which quotes as a shell does), then .deps/site/torch.
#
# Gives:   LibTorch::cpu    libtorch_cpu and libc10: all that a CPU build links
#          LibTorch::cuda   the above with libtorch_cuda and libc10_cuda (components: CUDA)
#          LibTorch_VERSION, LibTorch_DIR_FOUND, LibTorch_CXX11_ABI
set(_by_setup "")
if(EXISTS "${CMAKE_SOURCE_DIR}/.deps/env.sh")
  file(STRINGS "${CMAKE_SOURCE_DIR}/.deps/env.sh" _by_setup REGEX "SCORENET_LIBTORCH=")
  string(REGEX REPLACE [=[.*SCORENET_LIBTORCH=(([^ \\]|\\.)+).*]=] [=[\1]=] _by_setup "${_by_setup}")
  string(REGEX REPLACE [=[\\(.)]=] [=[\1]=] _by_setup "${_by_setup}")
endif()
find_path(LibTorch_DIR_FOUND NAMES include/torch/csrc/api/include/torch/torch.h
  HINTS "${LIBTORCH_DIR}" "$ENV{LIBTORCH_DIR}" "${_by_setup}" "${CMAKE_SOURCE_DIR}/.deps/site/torch" NO_DEFAULT_PATH)

if(LibTorch_DIR_FOUND)
  set(_lib "${LibTorch_DIR_FOUND}/lib")
  find_library(LibTorch_CPU_LIBRARY torch_cpu HINTS "${_lib}" NO_DEFAULT_PATH)
  find_library(LibTorch_C10_LIBRARY c10 HINTS "${_lib}" NO_DEFAULT_PATH)
  if(EXISTS "${LibTorch_DIR_FOUND}/version.py")
    file(STRINGS "${LibTorch_DIR_FOUND}/version.py" _version REGEX "^__version__")
    string(REGEX REPLACE ".*'([^']+)'.*" "\\1" LibTorch_VERSION "${_version}")
  elseif(EXISTS "${LibTorch_DIR_FOUND}/build-version")
    file(READ "${LibTorch_DIR_FOUND}/build-version" LibTorch_VERSION)
    string(STRIP "${LibTorch_VERSION}" LibTorch_VERSION)
  endif()
  # Libraries built with the other std::string would fail at link time with a page of undefined references.
  set(LibTorch_CXX11_ABI 1)
  if(EXISTS "${LibTorch_DIR_FOUND}/share/cmake/Torch/TorchConfig.cmake")
    file(STRINGS "${LibTorch_DIR_FOUND}/share/cmake/Torch/TorchConfig.cmake" _abi REGEX "GLIBCXX_USE_CXX11_ABI=[01]")
    string(REGEX MATCH "GLIBCXX_USE_CXX11_ABI=0" _old_abi "${_abi}")
    if(_old_abi)
      set(LibTorch_CXX11_ABI 0)
    endif()
  endif()
endif()

if("CUDA" IN_LIST LibTorch_FIND_COMPONENTS AND LibTorch_DIR_FOUND)
  find_library(LibTorch_CUDA_LIBRARY torch_cuda HINTS "${_lib}" NO_DEFAULT_PATH)
  find_library(LibTorch_C10_CUDA_LIBRARY c10_cuda HINTS "${_lib}" NO_DEFAULT_PATH)
  if(LibTorch_CUDA_LIBRARY AND LibTorch_C10_CUDA_LIBRARY)
    set(LibTorch_CUDA_FOUND TRUE)
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_DIR_FOUND
  VERSION_VAR LibTorch_VERSION HANDLE_COMPONENTS
  REASON_FAILURE_MESSAGE "Run ./launch/setup, or give -DLIBTORCH_DIR=DIR (a LibTorch folder or site-packages/torch).")

if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  # The wheel's libtorch_cpu needs libcudart and libcupti at run time and finds them by its own run path; the linker
  # need not look for them.
  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION "${LibTorch_C10_LIBRARY}")
  add_library(LibTorch::cpu SHARED IMPORTED)
  set_target_properties(LibTorch::cpu PROPERTIES
    IMPORTED_LOCATION "${LibTorch_CPU_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${LibTorch_DIR_FOUND}/include;${LibTorch_DIR_FOUND}/include/torch/csrc/api/include"
    INTERFACE_COMPILE_DEFINITIONS "_GLIBCXX_USE_CXX11_ABI=${LibTorch_CXX11_ABI}"
    INTERFACE_LINK_OPTIONS "LINKER:--allow-shlib-undefined"
    INTERFACE_LINK_LIBRARIES LibTorch::c10)
  if(LibTorch_CUDA_FOUND)
    add_library(LibTorch::c10_cuda SHARED IMPORTED)
    set_target_properties(LibTorch::c10_cuda PROPERTIES IMPORTED_LOCATION "${LibTorch_C10_CUDA_LIBRARY}")
    add_library(LibTorch::cuda SHARED IMPORTED)
    set_target_properties(LibTorch::cuda PROPERTIES
      IMPORTED_LOCATION "${LibTorch_CUDA_LIBRARY}"
      # Nothing of ours names a symbol of libtorch_cuda: it registers its kernels when it is loaded. Linkers that drop
      # such a library (the default of some distributions) would leave a program that finds no GPU.
      INTERFACE_LINK_OPTIONS "LINKER:--no-as-needed"
      INTERFACE_LINK_LIBRARIES "LibTorch::cpu;LibTorch::c10_cuda")
  endif()
endif()
mark_as_advanced(LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_CUDA_LIBRARY LibTorch_C10_CUDA_LIBRARY)
