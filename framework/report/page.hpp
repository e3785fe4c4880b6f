// The report of one or more runs: one HTML page that needs nothing else, no network and no script.
#pragma once

#include <string>
#include <vector>

#include "framework/report/curves.hpp"
#include "framework/report/run_record.hpp"

namespace scorenet::report {

struct PageOptions {
  std::string title;
  std::string made_by;  // "scorenet 0.1.0, 2026-11-26T21:00:00Z"
  ScheduleCurve schedule;
  bool plots = true;  // false: gnuplot is not there, and the page says so
};

std::string page(std::vector<RunRecord> runs, const PageOptions& options);

}  // namespace scorenet::report
