// Which program this is: version, commit, and how it was built. It stands in every snapshot and
// report.
//
// A library cannot know the commit of the program that it ends up in, and would be linked anew with
// every commit. So the program scorenet brings a build_commit of its own (launch/CMakeLists.txt),
// which the linker takes in place of the one here.
#pragma once

#include <string>

namespace scorenet {

/// "0.1.0".
std::string build_version();
/// "27f83c9e0d11", with "+changes" where files differed from it; "unknown" where there was no git,
/// and in other programs.
std::string build_commit();
/// "Release, GNU 12.2.0, LibTorch 2.13.0, CPU".
std::string build_options();
/// All of it in one line.
std::string build_line();

}  // namespace scorenet
