# Writes the program's build_commit.cpp, if the commit has changed since: cmake -DROOT=... -DOUT=... -P commit.cmake
set(commit unknown)
find_package(Git QUIET)
if(GIT_FOUND)
  execute_process(COMMAND "${GIT_EXECUTABLE}" -C "${ROOT}" rev-parse --short=12 HEAD OUTPUT_VARIABLE said
    RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT failed)
    set(commit "${said}")
    execute_process(COMMAND "${GIT_EXECUTABLE}" -C "${ROOT}" status --porcelain --untracked-files=no
      OUTPUT_VARIABLE changes ERROR_QUIET)
    if(changes)
      string(APPEND commit "+changes")
    endif()
  endif()
endif()
set(text "// Written by launch/cmake/commit.cmake.
#include \"framework/core/build_info.hpp\"

namespace scorenet {
std::string build_commit() { return \"${commit}\"; }
}  // namespace scorenet
")
set(then "")
if(EXISTS "${OUT}")
  file(READ "${OUT}" then)
endif()
if(NOT then STREQUAL text)
  file(WRITE "${OUT}" "${text}")
endif()
