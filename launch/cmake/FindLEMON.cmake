# LEMON, whose network simplex solves exact optimal transport. Some build its library as libemon, which -lemon links.
include("${CMAKE_CURRENT_LIST_DIR}/HeaderAndLibraries.cmake")
header_and_libraries(LEMON DEBIAN liblemon-dev HEADER lemon/network_simplex.h LIBRARIES lemon|emon TARGET LEMON::lemon)
