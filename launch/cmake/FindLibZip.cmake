# libzip. Its own package files ask for tools that Debian packs apart.
include("${CMAKE_CURRENT_LIST_DIR}/HeaderAndLibraries.cmake")
header_and_libraries(LibZip DEBIAN libzip-dev HEADER zip.h LIBRARIES zip TARGET LibZip::LibZip)
