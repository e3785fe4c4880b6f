# libwebp and its demuxer (Debian: libwebp-dev).
#
# Gives:   WebP::demux     webp/demux.h and both libraries
find_path(WebP_INCLUDE_DIR webp/demux.h)
find_library(WebP_LIBRARY webp)
find_library(WebP_DEMUX_LIBRARY webpdemux)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(WebP REQUIRED_VARS WebP_DEMUX_LIBRARY WebP_LIBRARY WebP_INCLUDE_DIR)

if(WebP_FOUND AND NOT TARGET WebP::demux)
  add_library(WebP::demux INTERFACE IMPORTED)
  target_include_directories(WebP::demux INTERFACE "${WebP_INCLUDE_DIR}")
  target_link_libraries(WebP::demux INTERFACE "${WebP_DEMUX_LIBRARY}" "${WebP_LIBRARY}")
endif()
mark_as_advanced(WebP_INCLUDE_DIR WebP_LIBRARY WebP_DEMUX_LIBRARY)
