// scorenet report: a page about one run, or several beside each other.
//
//   scorenet report runs/a --out a.html
//   scorenet report runs/a runs/b --out both.html
#include <iostream>
#include <memory>

#include "framework/core/utc_time.hpp"
#include "framework/diffusion/schedule.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/output_guard.hpp"
#include "framework/report/gnuplot.hpp"
#include "framework/report/page.hpp"
#include "launch/output_options.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {
namespace {

struct ReportArguments {
  std::vector<std::string> runs;
  std::string out, title;
  bool force = false;
};

// (t, log-SNR) at 101 places from t_min to t_max.
std::vector<std::pair<double, double>> schedule_curve(const diffusion::ScheduleOptions& options) {
  const torch::NoGradGuard no_grad;
  const auto schedule = diffusion::make_schedule(options);
  const auto t = torch::linspace(schedule->t_min(), schedule->t_max(), 101, torch::kFloat64);
  const auto log_snr = schedule->log_snr(t);
  std::vector<std::pair<double, double>> points;
  for (int64_t i = 0; i < t.size(0); ++i)
    points.emplace_back(t[i].item<double>(), log_snr[i].item<double>());
  return points;
}

std::string title_of(const ReportArguments& a) {
  if (!a.title.empty()) return a.title;
  std::string title;
  for (const std::string& run : a.runs) title += (title.empty() ? "" : ", ") + run;
  return title;
}

ExitCode write_report(const ReportArguments& a) {
  std::vector<report::RunRecord> runs;
  files::check_outputs({}, {{"--out", a.out, a.force}});
  for (const std::string& run : a.runs) runs.push_back(report::read_run(run));
  const bool plots = report::has_gnuplot();
  if (!plots) {
    std::cerr << "gnuplot: not found on the search path, so the page has no figures. Install it "
                 "(Debian: apt-get install gnuplot-nox) and make the page again."
              << std::endl;
  }
  const report::PageOptions options{title_of(a), "scorenet " SCORENET_VERSION ", " + utc_time_now(),
                                    schedule_curve, plots};
  files::write_file_atomically(a.out, report::page(std::move(runs), options));
  std::cout << a.out << ": " << a.runs.size() << (a.runs.size() == 1 ? " run" : " runs")
            << std::endl;
  return ExitCode::done;
}

}  // namespace

void add_report_verb(CLI::App& app, Task& task) {
  const auto arguments = std::make_shared<ReportArguments>();
  CLI::App* verb = app.add_subcommand("report", "one page about a run, or several side by side");
  verb->add_option("runs", arguments->runs, "run folders")->required();
  add_output_option(verb, "--out", arguments->out, "the page (HTML)")->required();
  verb->add_option("--title", arguments->title, "its title [the runs]");
  add_force_flag(verb, arguments->force);
  verb->callback([arguments, &task] {
    task.action = [arguments](comm::Communicators& comms) {
      return comms.host->rank() == 0 ? write_report(*arguments) : ExitCode::done;
    };
  });
}

}  // namespace scorenet::launch
