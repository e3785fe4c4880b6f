// The figures of a report: one curve for each run.
#pragma once

#include <functional>
#include <vector>

#include "framework/report/figure.hpp"
#include "framework/report/run_record.hpp"

namespace scorenet::report {

/// Points (t, log-SNR) of a schedule. Given from outside: it takes tensors to compute them.
using ScheduleCurve =
    std::function<std::vector<std::pair<double, double>>(const diffusion::ScheduleOptions&)>;

/// Loss, gradient norm, learning rate and speed against thousands of images.
std::vector<Figure> training_figures(const std::vector<RunRecord>& runs);

/// The numbers of the evaluations: bits per dimension where there are any, else nats.
std::vector<Figure> metric_figures(const std::vector<RunRecord>& runs);

/// The loss in each bin of log-SNR: over the last fifth of a run; of one run alone also over
/// its first.
Figure loss_over_log_snr(const std::vector<RunRecord>& runs);

Figure schedule_figure(const std::vector<RunRecord>& runs, const ScheduleCurve& curve);

}  // namespace scorenet::report
