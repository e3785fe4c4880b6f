// The tables of a report.
#pragma once

#include <vector>

#include "framework/report/html.hpp"
#include "framework/report/run_record.hpp"

namespace scorenet::report {

/// What was trained on what, and how far: a column for each run.
Html summary_table(const std::vector<RunRecord>& runs);

/// Every metric of the newest evaluation while training and of all reports of `evaluate`: value,
/// error, parts, cost.
Html likelihood_table(const std::vector<RunRecord>& runs);

/// Where a step's time goes: the phases of rank zero's steps, over the run's second half.
Html step_time_table(const std::vector<RunRecord>& runs);

/// Programs and machines of the starts.
Html versions_table(const std::vector<RunRecord>& runs);

/// The keys in which the runs' configs differ; of one run, those that are not at their default.
Html config_differences(const std::vector<RunRecord>& runs);

/// Each run's whole config, folded, and what changed between its starts.
Html whole_configs(const std::vector<RunRecord>& runs);

/// What could not be read.
Html missing_list(const std::vector<RunRecord>& runs);

}  // namespace scorenet::report
