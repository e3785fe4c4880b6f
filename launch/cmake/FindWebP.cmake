# libwebp and its demuxer.
include("${CMAKE_CURRENT_LIST_DIR}/HeaderAndLibraries.cmake")
header_and_libraries(WebP DEBIAN libwebp-dev HEADER webp/demux.h LIBRARIES webpdemux webp TARGET WebP::demux)
