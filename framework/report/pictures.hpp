// Grids of samples over the course of each run, within the page.
#pragma once

#include <vector>

#include "framework/report/html.hpp"
#include "framework/report/run_record.hpp"

namespace scorenet::report {

/// A row for each run: some of its grids, evenly spread and the last among them, and its data.
/// What is no PNG file, or too large for a page, is added to the run's list of what is missing.
Html pictures(std::vector<RunRecord>& runs);

}  // namespace scorenet::report
