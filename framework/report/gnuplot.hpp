// gnuplot as a child process: a script in, an SVG out.
#pragma once

#include <string>

namespace scorenet::report {

struct Plot {
  std::string svg;     // empty if there is none
  std::string reason;  // then: why
};

/// Whether the shell's search path has gnuplot.
bool has_gnuplot();

/// Runs `script` without the user's start-up files. It must write one SVG to standard output.
Plot run_gnuplot(const std::string& script);

}  // namespace scorenet::report
